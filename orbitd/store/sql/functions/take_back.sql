-- Take one running run from whoever holds it: the common part of interrupt, release and reconcile.
-- Returns where it went (pending, interrupted, failed, cancelled), null when the fence says that it had gone already.
--
-- A run not begun goes back as if it had never been claimed. One that was begun leaves an outcome, and pays:
--     p_charge = crash    its process died of it: at max_crashes it is failed
--     p_charge = error    its process was killed for it (timeout): at max_attempts it is failed
--     p_charge = none     it is not to blame
-- The limits are its pipeline's, and 3 for a pipeline that nobody has reported.
-- The cancel request is read after the row is locked, as in finish.
-- Locks: live; then as finish.
CREATE OR REPLACE FUNCTION orbit.take_back(
    p_lane int, p_seq bigint, p_run bigint, p_token bigint, p_begun boolean, p_charge text, p_cause text, p_error text,
    p_stack text, p_hold boolean
) RETURNS text
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_live     orbit.live;
    v_pipeline orbit.pipelines;
    v_outcome  text := 'interrupted';
BEGIN
    SELECT l.* INTO v_live
      FROM orbit.live l
     WHERE l.lane = p_lane AND l.seq = p_seq AND l.run_id = p_run AND l.token = p_token AND l.state = 1
       FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    IF p_begun THEN
        SELECT p.* INTO v_pipeline FROM orbit.runs r JOIN orbit.pipelines p ON p.name = r.pipeline WHERE r.id = p_run;
        v_live.errors := least(v_live.errors + (p_charge = 'error')::int, 32767);
        v_live.crashes := least(v_live.crashes + (p_charge = 'crash')::int, 32767);
        IF p_charge = 'error' AND v_live.errors >= coalesce(v_pipeline.max_attempts, 3)
           OR p_charge = 'crash' AND v_live.crashes >= coalesce(v_pipeline.max_crashes, 3) THEN
            v_outcome := 'failed';
        END IF;
    ELSE
        v_live.attempt := v_live.attempt - 1;
    END IF;
    IF EXISTS (SELECT FROM orbit.cancel_requests c WHERE c.run_id = p_run) THEN
        v_outcome := 'cancelled';
    END IF;

    IF p_begun OR v_outcome = 'cancelled' THEN
        PERFORM orbit.record_outcome(v_live, v_outcome, false, p_cause, p_error, NULL, p_stack, NULL);
    END IF;
    IF p_begun AND p_hold AND v_outcome = 'interrupted' THEN
        DELETE FROM orbit.live l WHERE l.lane = p_lane AND l.seq = p_seq;
        INSERT INTO orbit.interrupted (run_id, lane, attempt, errors, crashes, flags, cause)
        VALUES (p_run, v_live.lane, v_live.attempt, v_live.errors, v_live.crashes, v_live.flags, p_cause);
        RETURN 'interrupted';
    END IF;
    PERFORM orbit.move_run(v_live, v_outcome, p_cause, p_error, NULL);
    RETURN CASE v_outcome WHEN 'interrupted' THEN 'pending' ELSE v_outcome END;
END
$$;
