-- Delete dead letters that were resolved before a time, with all that is kept of their runs: p_limit at most. Returns how many.
-- One that is unresolved is never deleted.
-- Locks: failed, SKIP LOCKED; then as delete_runs.
CREATE OR REPLACE FUNCTION orbit.prune_resolved(p_before timestamptz, p_limit int) RETURNS int
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    v_runs bigint[];
BEGIN
    v_runs := ARRAY(
        SELECT f.run_id
          FROM orbit.failed f
         WHERE f.run_id < orbit.first_id(p_before) AND f.resolved_at < p_before
         ORDER BY f.run_id
         LIMIT p_limit
           FOR UPDATE SKIP LOCKED
    );
    PERFORM orbit.delete_runs(v_runs);
    RETURN cardinality(v_runs);
END
$$;
