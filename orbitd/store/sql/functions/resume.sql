-- Let a run that was interrupted and held go on from its last recorded step. False: it is not held.
-- Locks: interrupted; then as requeue.
CREATE OR REPLACE FUNCTION orbit.resume(run bigint) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
    v_run orbit.delayed;
BEGIN
    DELETE FROM orbit.interrupted i
     WHERE i.run_id = run
    RETURNING i.run_id, NULL, i.lane, i.attempt, i.errors, i.crashes, i.flags INTO v_run;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM orbit.requeue(ARRAY[v_run]);
    RETURN true;
END
$$;
