-- Write one run, or find the one that has the same key: `enqueue` with all that it knows. Rings for the run.
-- Runs in the producer's transaction, so it never waits for another producer, except for one with the very same key.
-- It pins no planner setting: two lookups by a unique key leave nothing to choose, and pinning would be a tenth of what it costs.
-- Raises OR003 for what cannot be a run.
-- Locks: keys; as announce_seq.
CREATE OR REPLACE FUNCTION orbit.insert_run(
    p_pipeline text, p_args jsonb, p_key text, p_key_for interval, p_run_at timestamptz, p_tenant text, p_priority int, p_queue text,
    OUT o_id bigint, OUT o_created boolean, OUT o_state text
)
LANGUAGE plpgsql
AS $$
DECLARE
    v_fault text[] := orbit.fault_in_request(p_pipeline, p_args);
    v_known record;
    v_owner record;
    v_lane  int;
    v_seq   bigint;
    v_flags smallint := (p_key IS NOT NULL)::int;
BEGIN
    IF v_fault IS NULL AND num_nonnulls(p_key, p_key_for, p_run_at, p_tenant, p_priority, p_queue) > 0 THEN
        v_fault := orbit.fault_in_options(p_key, p_key_for, p_run_at, p_tenant, p_priority, p_queue);
    END IF;
    IF v_fault IS NOT NULL THEN
        PERFORM orbit.reject(v_fault[1], v_fault[2]);
    END IF;
    -- Lanes are made by janitors only: a producer's long transaction must not hold a row that others need to insert.
    SELECT p.queue, p.priority, l.id AS lane,
           CASE WHEN NOT (p_args ?& p.needs AND coalesce(p_args - p.takes = '{}', true))
                THEN orbit.fault_in_arguments(p_pipeline, p.needs, p.takes, p_args)
           END AS fault
      INTO v_known
      FROM orbit.pipelines p
      LEFT JOIN orbit.lanes l
             ON l.pipeline = p.name AND l.queue = coalesce(p_queue, p.queue) AND l.priority = coalesce(p_priority, p.priority)
     WHERE p.name = p_pipeline;
    IF v_known.fault IS NOT NULL THEN
        PERFORM orbit.reject(v_known.fault[1], v_known.fault[2]);
    END IF;
    v_lane := coalesce(v_known.lane, 1);

    o_id := orbit.next_run_id();
    IF p_key IS NOT NULL THEN
        SELECT * INTO v_owner FROM orbit.take_key(p_pipeline, p_key, o_id, clock_timestamp() + p_key_for);
        o_created := v_owner.o_run = o_id;
        IF NOT o_created THEN
            o_id := v_owner.o_run;
            o_state := v_owner.o_state;
            RETURN;
        END IF;
    END IF;

    o_created := true;
    PERFORM orbit.announce_seq();
    IF p_run_at > clock_timestamp() THEN
        o_state := 'scheduled';
        INSERT INTO orbit.delayed (run_id, due_at, lane, attempt, errors, crashes, flags)
        VALUES (o_id, p_run_at, v_lane, 0, 0, 0, v_flags);
    ELSE
        o_state := 'pending';
        INSERT INTO orbit.live (run_id, lane, flags) VALUES (o_id, v_lane, v_flags) RETURNING live.seq INTO v_seq;
    END IF;
    INSERT INTO orbit.runs (id, pipeline, queue, priority, lane, seq, tenant, key, args, run_at)
    VALUES (
        o_id, p_pipeline, coalesce(p_queue, v_known.queue), coalesce(p_priority, v_known.priority),
        v_lane, v_seq, p_tenant, p_key, p_args, p_run_at
    );
    PERFORM orbit.ring(v_lane, coalesce(v_seq, 0), (v_seq IS NOT NULL)::int);
END
$$;
