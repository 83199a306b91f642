-- Delete all that is kept of runs that have ended, but for a key that stands for one of them until its period is over: called by
-- dlq_delete, and by what prunes.
-- Locks: failed, runs, outcomes, steps, run_logs, run_progress by run.
CREATE OR REPLACE FUNCTION orbit.delete_runs(p_runs bigint[]) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
    DELETE FROM orbit.failed f WHERE f.run_id = ANY (p_runs);
    DELETE FROM orbit.runs r WHERE r.id = ANY (p_runs);
    DELETE FROM orbit.outcomes o WHERE o.run_id = ANY (p_runs);
    DELETE FROM orbit.steps s WHERE s.run_id = ANY (p_runs);
    DELETE FROM orbit.run_logs g WHERE g.run_id = ANY (p_runs);
    DELETE FROM orbit.run_progress p WHERE p.run_id = ANY (p_runs);
END
$$;
