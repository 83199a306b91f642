-- Let a run that was interrupted and held go on from its last recorded step. Returns where the run is now: pending for one
-- that was held; a run that waits or runs is as it was; null: there is no such run.
-- Raises OR004 for a run that has ended or whose child or host is gone, and when it is no longer in the state and attempt expected
-- (null: never mind).
-- Locks: as to_pending; then run_logs.
CREATE OR REPLACE FUNCTION orbit.resume(
    run bigint, by_whom text DEFAULT session_user, expected_state text DEFAULT NULL, expected_attempt int DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    v_place record;
BEGIN
    FOR v_try IN 1 .. 100 LOOP
        SELECT * INTO v_place FROM orbit.place_as_chosen(run, expected_state, expected_attempt);
        IF v_place.state = 'running' AND orbit.is_lost(v_place.lane, v_place.seq) THEN
            PERFORM orbit.refuse_act(
                format('run %s still counts as running, but its child or its host is gone', orbit.short_id(run)),
                'take it back: orbitctl recover --auto-resume'
            );
        ELSIF NOT FOUND OR v_place.state IN ('pending', 'running', 'scheduled') THEN
            RETURN v_place.state;
        ELSIF v_place.state <> 'interrupted' THEN
            PERFORM orbit.refuse_act(
                format('run %s is not interrupted: it %s', orbit.short_id(run), orbit.in_words(v_place.state)),
                format('try `orbitctl %s %s`', CASE v_place.state WHEN 'failed' THEN 'retry' ELSE 'rerun' END, orbit.short_id(run))
            );
        ELSIF orbit.to_pending(run, v_place.state, v_place.attempt) THEN
            PERFORM orbit.log_act(run, v_place.attempt, 'resumed', by_whom, NULL);
            RETURN 'pending';
        END IF;
    END LOOP;
    PERFORM orbit.moved_too_often(run);
END
$$;
