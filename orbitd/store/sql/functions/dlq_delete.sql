-- Delete a failed run, and all that is kept of it, its key too: whoever asks with that again wants a new run. Returns whether there was one.
-- Raises OR004 unless the run has failed, and when it is no longer in the state and attempt expected (null: never mind).
-- Locks: failed; keys; then as delete_runs.
CREATE OR REPLACE FUNCTION orbit.dlq_delete(run bigint, expected_state text DEFAULT NULL, expected_attempt int DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    IF (orbit.lock_failed(run, expected_state, expected_attempt)).run_id IS NULL THEN
        RETURN false;
    END IF;
    DELETE FROM orbit.keys k USING orbit.runs r WHERE r.id = run AND k.pipeline = r.pipeline AND k.key = r.key AND k.run_id = r.id;
    PERFORM orbit.delete_runs(ARRAY[run]);
    RETURN true;
END
$$;
