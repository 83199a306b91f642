-- A child has died: end it and take back what it held, by its claims page. Called by the janitor at once, and again if the
-- answer was lost: what was taken back is not taken twice. Returns each run taken back, and where it is now.
-- A child that never connected (0) holds nothing.
-- The lock timeout keeps a dead child's session that is still busy from stopping the janitor: it raises, the janitor ends that
-- session, and calls again.
-- Locks: children; live in order; then as take_back.
CREATE OR REPLACE FUNCTION orbit.interrupt(
    p_child int, p_lanes int[], p_seqs bigint[], p_runs bigint[], p_tokens bigint[], p_begun boolean[],
    p_asked_token bigint, p_asked_lanes int[], p_charge text, p_cause text, p_error text, p_stack text, p_hold boolean
) RETURNS TABLE (run_id bigint, state text)
LANGUAGE plpgsql
SET lock_timeout = '500ms'
AS $$
DECLARE
    v_run record;
BEGIN
    IF NOT orbit.end_child(p_child, p_cause) THEN
        RETURN;
    END IF;
    FOR v_run IN
        SELECT * FROM orbit.asked_and_held(p_lanes, p_seqs, p_runs, p_tokens, p_begun, p_asked_token, p_asked_lanes)
    LOOP
        run_id := v_run.run_id;
        state := orbit.take_back(
            v_run.lane, v_run.seq, v_run.run_id, v_run.token, v_run.begun, p_charge, p_cause, p_error, p_stack, p_hold
        );
        IF state IS NOT NULL THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
