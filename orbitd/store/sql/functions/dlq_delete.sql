-- Delete a failed run, and all that is kept of it. Returns whether there was one.
-- Raises OR004 unless the run has failed, and when it is no longer in the state and attempt expected (null: never mind).
-- Locks: failed; then as delete_runs.
CREATE OR REPLACE FUNCTION orbit.dlq_delete(run bigint, expected_state text DEFAULT NULL, expected_attempt int DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    IF (orbit.lock_failed(run, expected_state, expected_attempt)).run_id IS NULL THEN
        RETURN false;
    END IF;
    PERFORM orbit.delete_runs(ARRAY[run]);
    RETURN true;
END
$$;
