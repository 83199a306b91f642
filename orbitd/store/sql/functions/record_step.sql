-- Record what a step gave, or return what it gave before: the first recorded output wins. Called by the child's courier,
-- or inside the pipeline's own transaction, with which it commits. Raises OR002 when the run is no longer the caller's.
-- The run is locked FOR KEY SHARE until commit: a plain read would let it be taken back while the step's transaction is still
-- open, and the step commit after that. Everything that takes a run away locks it FOR UPDATE, and so waits; what only moves
-- it to the child's new connection does not.
-- Locks: live, KEY SHARE; steps by key.
CREATE OR REPLACE FUNCTION orbit.record_step(
    p_lane int, p_seq bigint, p_run bigint, p_token bigint, p_key text, p_output json, p_seconds float8
) RETURNS json
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    v_output json;
BEGIN
    PERFORM FROM orbit.live l
      WHERE l.lane = p_lane AND l.seq = p_seq AND l.run_id = p_run AND l.token = p_token AND l.state = 1
        FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'OR002' USING MESSAGE = format('run %s is no longer yours', p_run);
    END IF;
    INSERT INTO orbit.steps (run_id, key, output, seconds) VALUES (p_run, p_key, p_output, p_seconds) ON CONFLICT DO NOTHING;
    SELECT s.output INTO v_output FROM orbit.steps s WHERE s.run_id = p_run AND s.key = p_key;
    RETURN v_output;
END
$$;
