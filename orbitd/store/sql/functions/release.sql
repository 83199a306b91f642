-- Hand back runs that were not begun, as if they had never been claimed: a child does so with those of a batch that would have to
-- wait, start_child with what a lost claim brought. Returns the runs that were still the claim's.
-- The lock timeout: as finish.
-- Locks: live in order; then as take_back.
CREATE OR REPLACE FUNCTION orbit.release(p_lanes int[], p_seqs bigint[], p_runs bigint[], p_tokens bigint[]) RETURNS bigint[]
LANGUAGE plpgsql
SET lock_timeout = '2s'
AS $$
DECLARE
    v_run      record;
    v_released bigint[] := '{}';
BEGIN
    FOR v_run IN
        SELECT * FROM unnest(p_lanes, p_seqs, p_runs, p_tokens) AS held(lane, seq, run_id, token) ORDER BY lane, seq
    LOOP
        IF orbit.take_back(v_run.lane, v_run.seq, v_run.run_id, v_run.token, false, 'none', NULL, NULL, NULL, false) IS NOT NULL THEN
            v_released := v_released || v_run.run_id;
        END IF;
    END LOOP;
    RETURN v_released;
END
$$;
