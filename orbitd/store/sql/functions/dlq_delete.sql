-- Delete a failed run, and all that is kept of it, its key too. Returns whether there was one.
-- Raises OR004 unless the run has failed, and when it is no longer in the state and attempt expected (null: never mind).
-- Locks: failed; then keys, runs, outcomes, steps, run_logs, run_progress by run.
CREATE OR REPLACE FUNCTION orbit.dlq_delete(run bigint, expected_state text DEFAULT NULL, expected_attempt int DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
    IF (orbit.lock_failed(run, expected_state, expected_attempt)).run_id IS NULL THEN
        RETURN false;
    END IF;
    DELETE FROM orbit.failed f WHERE f.run_id = run;
    DELETE FROM orbit.keys k USING orbit.runs r WHERE r.id = run AND k.pipeline = r.pipeline AND k.key = r.key AND k.run_id = run;
    DELETE FROM orbit.runs r WHERE r.id = run;
    DELETE FROM orbit.outcomes o WHERE o.run_id = run;
    DELETE FROM orbit.steps s WHERE s.run_id = run;
    DELETE FROM orbit.run_logs g WHERE g.run_id = run;
    DELETE FROM orbit.run_progress p WHERE p.run_id = run;
    RETURN true;
END
$$;
