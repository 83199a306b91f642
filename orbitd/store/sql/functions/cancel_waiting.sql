-- End a run that waits in the given place: called by cancel. False: it has left that place, or has been tried, meanwhile.
-- The outcome's token is negative and new, because no claim made one.
-- Locks: as cancel.
CREATE OR REPLACE FUNCTION orbit.cancel_waiting(
    p_run bigint, p_state text, p_lane int, p_seq bigint, p_attempt smallint, p_by text, p_reason text
) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    v_live orbit.live;
BEGIN
    CASE p_state
        WHEN 'pending' THEN
            DELETE FROM orbit.live l
             WHERE l.lane = p_lane AND l.seq = p_seq AND l.run_id = p_run AND l.state = 0 AND l.attempt = p_attempt
            RETURNING l.attempt, l.flags INTO v_live.attempt, v_live.flags;
        WHEN 'scheduled' THEN
            DELETE FROM orbit.delayed d
             WHERE d.run_id = p_run AND d.attempt = p_attempt
            RETURNING d.attempt, d.flags INTO v_live.attempt, v_live.flags;
        WHEN 'interrupted' THEN
            DELETE FROM orbit.interrupted i
             WHERE i.run_id = p_run AND i.attempt = p_attempt
            RETURNING i.attempt, i.flags INTO v_live.attempt, v_live.flags;
    END CASE;
    IF v_live.attempt IS NULL THEN
        RETURN false;
    END IF;
    v_live.run_id := p_run;
    v_live.token := -nextval('orbit.ready_numbers');
    PERFORM orbit.record_outcome(
        v_live, 'cancelled', false, 'cancelled', format('cancelled by %s', p_by) || coalesce(': ' || p_reason, ''), NULL, NULL, NULL
    );
    PERFORM orbit.forget(p_run, v_live.flags, 'cancelled');
    RETURN true;
END
$$;
