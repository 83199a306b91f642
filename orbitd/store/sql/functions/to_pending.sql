-- Let a run that waits elsewhere, or has failed, wait for a child: called by retry and resume. False: it has left the given
-- place meanwhile.
-- Locks: delayed, or interrupted, or as exhume; then as requeue.
CREATE OR REPLACE FUNCTION orbit.to_pending(p_run bigint, p_state text, p_attempt smallint) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    v_run orbit.delayed;
BEGIN
    CASE p_state
        WHEN 'scheduled' THEN
            DELETE FROM orbit.delayed d WHERE d.run_id = p_run AND d.attempt = p_attempt RETURNING d.* INTO v_run;
        WHEN 'interrupted' THEN
            DELETE FROM orbit.interrupted i
             WHERE i.run_id = p_run AND i.attempt = p_attempt
            RETURNING i.run_id, NULL, i.lane, i.attempt, i.errors, i.crashes, i.flags INTO v_run;
        WHEN 'failed' THEN
            v_run := orbit.exhume(p_run, p_attempt);
    END CASE;
    IF v_run.run_id IS NULL THEN
        RETURN false;
    END IF;
    PERFORM orbit.requeue(ARRAY[v_run]);
    RETURN true;
END
$$;
