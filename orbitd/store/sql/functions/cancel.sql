-- Cancel a run: by an operator, or by any program in its own transaction. Returns
--     cancelled     it was waiting, and has ended
--     cancelling    it runs: its child is told, and it will not be queued again whatever its attempt comes to
--     succeeded ...   it had ended before
--     null          there is no such run
-- A running row is locked FOR KEY SHARE until this commits: that waits for a finish in flight and makes the next one wait,
-- so a request is never written for a run that has just ended; and it does not wait for the transaction of a step.
-- A run that moves between the look and the lock is looked for again.
-- Raises OR004 when the run is no longer in the state and attempt expected (null: never mind).
-- Locks: live, or delayed, or interrupted; then cancel_requests, or outcomes, keys, requeued.
CREATE OR REPLACE FUNCTION orbit.cancel(
    run bigint, by_whom text DEFAULT session_user, reason text DEFAULT NULL,
    expected_state text DEFAULT NULL, expected_attempt int DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    v_place record;
BEGIN
    FOR v_try IN 1 .. 100 LOOP
        SELECT * INTO v_place FROM orbit.place_as_chosen(run, expected_state, expected_attempt);
        IF NOT FOUND OR v_place.state IN ('succeeded', 'failed', 'cancelled') THEN
            RETURN v_place.state;
        ELSIF v_place.state = 'running' THEN
            PERFORM FROM orbit.live l
              WHERE l.lane = v_place.lane AND l.seq = v_place.seq AND l.run_id = run AND l.state = 1 AND l.attempt = v_place.attempt
                FOR KEY SHARE;
            IF FOUND THEN
                INSERT INTO orbit.cancel_requests VALUES (run, by_whom, cancel.reason) ON CONFLICT DO NOTHING;
                PERFORM pg_notify('orbit_cancel', run::text);
                RETURN 'cancelling';
            END IF;
        ELSIF orbit.cancel_waiting(run, v_place.state, v_place.lane, v_place.seq, v_place.attempt, by_whom, reason) THEN
            RETURN 'cancelled';
        END IF;
    END LOOP;
    PERFORM orbit.moved_too_often(run);
END
$$;
