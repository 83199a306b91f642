-- Ask for a new run like one that has ended: the same pipeline, arguments, queue, priority and tenant; no key, because a key
-- stands for one piece of work, which is asked for once more on purpose. Returns its id; null: there is no such run.
-- Raises OR004 unless the run has ended, and when it is no longer in the state and attempt expected (null: never mind); OR003
-- when its pipeline takes other arguments now.
-- Locks: none.
CREATE OR REPLACE FUNCTION orbit.rerun(
    run bigint, by_whom text DEFAULT session_user, reason text DEFAULT NULL,
    expected_state text DEFAULT NULL, expected_attempt int DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    v_place record;
    v_asked orbit.runs;
    v_new   bigint;
BEGIN
    SELECT * INTO v_place FROM orbit.place_as_chosen(run, expected_state, expected_attempt);
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF v_place.state NOT IN ('succeeded', 'failed', 'cancelled') THEN
        PERFORM orbit.refuse_act(
            format('run %s has not ended: it %s', orbit.short_id(run), orbit.in_words(v_place.state)),
            format('wait for its end, or `orbitctl cancel %s`', orbit.short_id(run))
        );
    END IF;
    SELECT r.* INTO v_asked FROM orbit.runs r WHERE r.id = run;
    IF NOT FOUND THEN  -- deleted meanwhile
        RETURN NULL;
    END IF;
    v_new := orbit.enqueue(
        v_asked.pipeline, v_asked.args, tenant => v_asked.tenant, priority => v_asked.priority, queue => v_asked.queue
    );
    PERFORM orbit.log_act(v_new, 0::smallint, format('asked for, as run %s again,', orbit.short_id(run)), by_whom, reason);
    RETURN v_new;
END
$$;
