-- Try a run again: by an operator, or by any program in its own transaction. Returns where the run is now.
--     failed        pending, out of the dead-letter queue, with a fresh budget of attempts
--     interrupted   pending, as resume
--     scheduled     pending, if it was tried before: its delay is over
--     pending, running   as it was: it is being tried already
--     null          there is no such run
-- Raises OR004 for other states, and when the run is no longer in the state and attempt expected (null: never mind).
-- Locks: as to_pending; then run_logs.
CREATE OR REPLACE FUNCTION orbit.retry(
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
        IF NOT FOUND OR v_place.state IN ('pending', 'running') THEN
            RETURN v_place.state;
        ELSIF v_place.state IN ('succeeded', 'cancelled') THEN
            PERFORM orbit.refuse_act(
                format('run %s %s', orbit.short_id(run), orbit.in_words(v_place.state)),
                format('`orbitctl rerun %s` makes a new run of it', orbit.short_id(run))
            );
        ELSIF v_place.state = 'scheduled' AND v_place.attempt = 0 THEN
            PERFORM orbit.refuse_act(format('run %s is scheduled and was never tried', orbit.short_id(run)), 'it begins when it is due');
        ELSIF orbit.to_pending(run, v_place.state, v_place.attempt) THEN
            PERFORM orbit.log_act(run, v_place.attempt, 'retried', by_whom, reason);
            RETURN 'pending';
        END IF;
    END LOOP;
    PERFORM orbit.moved_too_often(run);
END
$$;
