-- Write how an attempt ended: called by finish (reported by the child) and by take_back and cancel_waiting (not reported).
-- The error of a cancelled attempt is who asked for that, and why.
CREATE OR REPLACE FUNCTION orbit.record_outcome(
    p_live orbit.live, p_outcome text, p_reported boolean, p_cause text, p_error text, p_traceback text, p_stack text,
    p_result jsonb
) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    v_error text;
BEGIN
    IF p_outcome = 'cancelled' THEN
        SELECT format('cancelled by %s', c.by) || coalesce(': ' || c.reason, '') INTO v_error
          FROM orbit.cancel_requests c
         WHERE c.run_id = p_live.run_id;
    END IF;
    INSERT INTO orbit.outcomes (
        run_id, token, started_at, child, attempt, reported, outcome, cause, error, traceback, stack, result
    )
    VALUES (
        p_live.run_id, p_live.token, p_live.claimed_at, p_live.child, p_live.attempt, p_reported, p_outcome,
        CASE p_outcome WHEN 'cancelled' THEN 'cancelled' ELSE p_cause END, coalesce(v_error, p_error), p_traceback, p_stack, p_result
    );
END
$$;
