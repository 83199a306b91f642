-- Write one run, or find the live one that has the same key: the common part of `enqueue` and `enqueue_many`, which rings
-- once for all its runs.
-- Runs in the producer's transaction, so it never waits for another producer, except for one with the very same key.
-- Locks: keys; as announce_seq.
CREATE OR REPLACE FUNCTION orbit.insert_run(
    p_pipeline text, p_args jsonb, p_key text, p_run_at timestamptz, p_tenant text, p_priority int, p_queue text,
    p_ring boolean, OUT o_id bigint, OUT o_created boolean, OUT o_state text, OUT o_lane int, OUT o_seq bigint
)
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    v_spec     orbit.pipelines;
    v_flags    smallint := CASE WHEN p_key IS NULL THEN 0 ELSE 1 END;
    v_queue    text;
    v_priority smallint;
BEGIN
    PERFORM orbit.check_request(p_pipeline, p_args, p_key, p_run_at, p_tenant, p_priority, p_queue);
    SELECT p.* INTO v_spec FROM orbit.pipelines p WHERE p.name = p_pipeline;
    IF FOUND THEN
        PERFORM orbit.check_arguments(p_pipeline, v_spec.signature, p_args);
    END IF;

    o_id := orbit.next_run_id();
    o_created := true;
    IF p_key IS NOT NULL THEN
        LOOP
            INSERT INTO orbit.keys (pipeline, key, run_id) VALUES (p_pipeline, p_key, o_id) ON CONFLICT DO NOTHING;
            EXIT WHEN FOUND;
            SELECT k.run_id INTO o_id FROM orbit.keys k WHERE k.pipeline = p_pipeline AND k.key = p_key;
            IF FOUND THEN
                o_created := false;
                SELECT place.state INTO o_state FROM orbit.run_place(o_id) AS place;
                RETURN;
            END IF;
            o_id := orbit.next_run_id();  -- that run ended between the two statements: the key is free again
        END LOOP;
    END IF;

    -- Lanes are made by janitors only: a producer's long transaction must not hold a row that others need to insert.
    v_queue := coalesce(p_queue, v_spec.queue);
    v_priority := coalesce(p_priority, v_spec.priority);
    SELECT l.id INTO o_lane
      FROM orbit.lanes l
     WHERE l.pipeline = p_pipeline AND l.queue = v_queue AND l.priority = v_priority;
    o_lane := coalesce(o_lane, 1);

    PERFORM orbit.announce_seq();
    o_state := CASE WHEN p_run_at > clock_timestamp() THEN 'scheduled' ELSE 'pending' END;
    IF o_state = 'scheduled' THEN
        INSERT INTO orbit.delayed (run_id, due_at, lane, attempt, errors, crashes, flags)
        VALUES (o_id, p_run_at, o_lane, 0, 0, 0, v_flags);
    ELSE
        INSERT INTO orbit.live (run_id, lane, flags) VALUES (o_id, o_lane, v_flags) RETURNING live.seq INTO o_seq;
    END IF;
    INSERT INTO orbit.runs (id, pipeline, queue, priority, lane, seq, tenant, key, args, run_at)
    VALUES (o_id, p_pipeline, v_queue, v_priority, o_lane, o_seq, p_tenant, p_key, p_args, p_run_at);
    IF p_ring THEN
        PERFORM orbit.ring(o_lane, coalesce(o_seq, 0), (o_seq IS NOT NULL)::int);
    END IF;
END
$$;
