-- A child reports how an attempt ended. Returns whether the report counts: false means fenced, the run was taken back and
-- the attempt is somebody else's now. The very report that was accepted before is accepted again, so that a child which lost the
-- reply to its COMMIT may simply repeat it.
--
--     succeeded, failed, cancelled    the run ends
--     retried                         one error more; again after p_delay_seconds
--     snoozed                         no error; again after p_delay_seconds
--     interrupted                     no error; pending again in its old place (the operator asked for it)
--
-- A run whose cancel was asked for is never queued again: the last three end it as cancelled.
-- The row is locked before anything else is read: `cancel` locks it too, so one of the two sees what the other did.
-- The lock timeout: a client that gave up leaves its session waiting, and each repeated call would add one more.
-- Locks: live; then outcomes, delayed, failed, keys, requeued, cancel_requests by run.
CREATE OR REPLACE FUNCTION orbit.finish(
    p_lane int, p_seq bigint, p_run bigint, p_token bigint, p_outcome text, p_delay_seconds float8, p_result jsonb,
    p_cause text, p_error text, p_traceback text, p_stack text
) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET lock_timeout = '2s'
AS $$
DECLARE
    v_live       orbit.live;
    v_outcome    text := p_outcome;
    v_would_wait boolean := p_outcome IN ('retried', 'snoozed', 'interrupted');
BEGIN
    SELECT l.* INTO v_live
      FROM orbit.live l
     WHERE l.lane = p_lane AND l.seq = p_seq AND l.run_id = p_run AND l.token = p_token AND l.state = 1
       FOR UPDATE;
    IF NOT FOUND THEN
        RETURN EXISTS (
            SELECT FROM orbit.outcomes o
             WHERE o.run_id = p_run AND o.token = p_token AND o.reported
               AND (o.outcome = p_outcome OR o.outcome = 'cancelled' AND v_would_wait)
        );
    END IF;

    IF v_would_wait AND EXISTS (SELECT FROM orbit.cancel_requests c WHERE c.run_id = p_run) THEN
        v_outcome := 'cancelled';
    END IF;
    v_live.errors := least(v_live.errors + (p_outcome IN ('retried', 'failed'))::int, 32767);
    PERFORM orbit.record_outcome(v_live, v_outcome, true, p_cause, p_error, p_traceback, p_stack, p_result);
    PERFORM orbit.move_run(v_live, v_outcome, p_cause, p_error, p_delay_seconds);
    RETURN true;
END
$$;
