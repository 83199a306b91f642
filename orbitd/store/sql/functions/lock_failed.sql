-- Lock the dead letter of a run that a person wants to resolve or delete: called by dlq_resolve and dlq_delete. A row of nulls:
-- there is no such run. Raises OR004 unless the run has failed, and as place_as_chosen.
-- Locks: failed.
CREATE OR REPLACE FUNCTION orbit.lock_failed(p_run bigint, p_state text, p_attempt int) RETURNS orbit.failed
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    v_place  record;
    v_failed orbit.failed;
BEGIN
    FOR v_try IN 1 .. 100 LOOP
        SELECT * INTO v_place FROM orbit.place_as_chosen(p_run, p_state, p_attempt);
        IF NOT FOUND THEN
            RETURN NULL;
        ELSIF v_place.state <> 'failed' THEN
            PERFORM orbit.refuse_act(
                format('run %s is no dead letter: it %s', orbit.short_id(p_run), orbit.in_words(v_place.state)), 'see `orbitctl dlq list`'
            );
        END IF;
        SELECT f.* INTO v_failed FROM orbit.failed f WHERE f.run_id = p_run AND f.attempt = v_place.attempt FOR UPDATE;
        IF FOUND THEN
            RETURN v_failed;
        END IF;
    END LOOP;
    PERFORM orbit.moved_too_often(p_run);
END
$$;
