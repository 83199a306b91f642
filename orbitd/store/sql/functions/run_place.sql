-- Where a run is now, in one statement over one snapshot: used by cancel, resume, and whoever waits for a run.
-- No row: there is no such run.
CREATE OR REPLACE FUNCTION orbit.run_place(p_run bigint) RETURNS TABLE (state text, lane int, seq bigint, attempt smallint)
LANGUAGE plpgsql ROWS 1 VOLATILE  -- a stable function would look with the caller's older snapshot
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
    RETURN QUERY SELECT v.state, v.lane, v.seq, v.attempt FROM orbit.runs_view v WHERE v.id = p_run;
END
$$;
