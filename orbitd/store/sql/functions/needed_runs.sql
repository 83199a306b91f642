-- The runs of a range of ids that must be kept, each with all its rows: those that have not ended, those that ended after
-- p_ended_after, and dead letters. May name a run twice. Called by prune_partition and prune_runs, and stable: it sees what the
-- caller's statement sees, so that a run on its way from one table to another is found.
-- Reads all of `live`, as lost_runs does.
CREATE OR REPLACE FUNCTION orbit.needed_runs(p_from bigint, p_to bigint, p_ended_after timestamptz) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE
SET jit = off
AS $$
BEGIN
    RETURN QUERY
    SELECT l.run_id FROM orbit.live l WHERE l.run_id >= p_from AND l.run_id < p_to
     UNION ALL
    SELECT d.run_id FROM orbit.delayed d WHERE d.run_id >= p_from AND d.run_id < p_to
     UNION ALL
    SELECT i.run_id FROM orbit.interrupted i WHERE i.run_id >= p_from AND i.run_id < p_to
     UNION ALL
    SELECT f.run_id FROM orbit.failed f WHERE f.run_id >= p_from AND f.run_id < p_to
     UNION ALL
    SELECT o.run_id FROM orbit.outcomes o WHERE o.run_id >= p_from AND o.run_id < p_to AND o.finished_at > p_ended_after;
END
$$;
