-- Ask for many runs at once: a JSON array of objects with the parameters of `enqueue`, and run_in (an interval) for
-- run_at => now() + run_in, which JSON cannot say. Returns their ids in the same order.
-- All or none. Raises OR003 for what cannot be a run, naming the first such item.
-- Keys are taken one by one, for each may have to wait; all that remains is one statement.
-- Locks: keys, sorted, so that two producers with the same keys never wait for each other in a circle; as announce_seq.
CREATE OR REPLACE FUNCTION orbit.enqueue_many(runs jsonb) RETURNS bigint[]
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_ids    bigint[];   -- by item: 0 until it is known
    v_is_new boolean[];  -- by item: false when another run has its key
    v_keyed  record;
    v_id     bigint;
    v_last   text[];
    v_all    record;
    v_bell   record;
BEGIN
    IF jsonb_typeof(runs) IS DISTINCT FROM 'array' THEN
        PERFORM orbit.reject('enqueue_many takes a JSON array', 'give [{"pipeline": "name", "args": {...}}, ...]');
    ELSIF jsonb_array_length(runs) = 0 THEN
        RETURN '{}';
    END IF;
    v_ids := array_fill(0::bigint, ARRAY[jsonb_array_length(runs)]);
    v_is_new := array_fill(true, ARRAY[jsonb_array_length(runs)]);

    FOR v_keyed IN
        SELECT ordinal::int AS ordinal, item ->> 'pipeline' AS pipeline, item ->> 'key' AS key, item ->> 'key_for' AS key_for
          FROM jsonb_array_elements(runs) WITH ORDINALITY AS asked(item, ordinal)
         WHERE octet_length(item ->> 'key') <= 500 AND octet_length(item ->> 'pipeline') <= 200  -- else refused below
         ORDER BY 2, 3, 1
    LOOP
        IF ARRAY[v_keyed.pipeline, v_keyed.key] = v_last THEN
            v_is_new[v_keyed.ordinal] := false;
        ELSE
            v_id := orbit.next_run_id();
            v_ids[v_keyed.ordinal] := v_id;
            v_id := (SELECT o_run FROM orbit.take_key(v_keyed.pipeline, v_keyed.key, v_id, clock_timestamp() + v_keyed.key_for::interval));
            v_is_new[v_keyed.ordinal] := v_id = v_ids[v_keyed.ordinal];
            v_last := ARRAY[v_keyed.pipeline, v_keyed.key];
        END IF;
        v_ids[v_keyed.ordinal] := v_id;
    END LOOP;

    PERFORM orbit.announce_seq();
    WITH asked AS (
        SELECT ordinal, item, item ->> 'pipeline' AS pipeline, coalesce(item -> 'args', '{}') AS args,
               item ->> 'key' AS key, (item ->> 'key_for')::interval AS key_for,
               coalesce((item ->> 'run_at')::timestamptz, clock_timestamp() + (item ->> 'run_in')::interval) AS run_at,
               item ->> 'tenant' AS tenant, (item ->> 'priority')::int AS priority, item ->> 'queue' AS queue
          FROM jsonb_array_elements(runs) WITH ORDINALITY AS asked(item, ordinal)
    ), placed AS MATERIALIZED (
        SELECT a.ordinal, a.pipeline, a.args, a.key, a.run_at, a.tenant,
               coalesce(a.queue, p.queue) AS queue, coalesce(a.priority, p.priority) AS priority, coalesce(l.id, 1) AS lane,
               v_is_new[a.ordinal] AS is_new,
               CASE v_ids[a.ordinal] WHEN 0 THEN orbit.next_run_id() ELSE v_ids[a.ordinal] END AS id,
               CASE WHEN v_is_new[a.ordinal] AND (a.run_at > clock_timestamp()) IS NOT TRUE
                    THEN nextval('orbit.ready_numbers')
               END AS seq,
               CASE WHEN jsonb_typeof(a.item) <> 'object' THEN ARRAY['it is not a JSON object', NULL]
                    WHEN a.item - '{pipeline,args,key,key_for,run_at,run_in,tenant,priority,queue}'::text[] <> '{}' THEN ARRAY[
                         'it has an unknown ' || (
                              SELECT string_agg(format('"%s"', name), ', ')
                                FROM jsonb_object_keys(a.item) AS name
                               WHERE name NOT IN ('pipeline', 'args', 'key', 'key_for', 'run_at', 'run_in', 'tenant', 'priority', 'queue')
                         ),
                         'it may have pipeline, args, key, key_for, run_at, run_in, tenant, priority, queue'
                    ]
                    ELSE coalesce(
                         orbit.fault_in_request(a.pipeline, a.args),
                         CASE WHEN num_nonnulls(a.key, a.key_for, a.run_at, a.tenant, a.priority, a.queue) > 0
                              THEN orbit.fault_in_options(a.key, a.key_for, a.run_at, a.tenant, a.priority, a.queue)
                         END,
                         CASE WHEN NOT (a.args ?& p.needs AND coalesce(a.args - p.takes = '{}', true))
                              THEN orbit.fault_in_arguments(a.pipeline, p.needs, p.takes, a.args)
                         END
                    )
               END AS fault
          FROM asked a
          LEFT JOIN orbit.pipelines p ON p.name = a.pipeline
          LEFT JOIN orbit.lanes l
                 ON l.pipeline = p.name AND l.queue = coalesce(a.queue, p.queue) AND l.priority = coalesce(a.priority, p.priority)
         ORDER BY a.ordinal  -- the numbers are given after this
    ), waiting AS (
        INSERT INTO orbit.live (seq, run_id, lane, flags)
        SELECT seq, id, lane, (key IS NOT NULL)::int FROM placed WHERE seq IS NOT NULL AND fault IS NULL
    ), later AS (
        INSERT INTO orbit.delayed (run_id, due_at, lane, attempt, errors, crashes, flags)
        SELECT id, run_at, lane, 0, 0, 0, (key IS NOT NULL)::int FROM placed WHERE seq IS NULL AND is_new AND fault IS NULL
    ), written AS (
        INSERT INTO orbit.runs (id, pipeline, queue, priority, lane, seq, tenant, key, args, run_at)
        SELECT id, pipeline, queue, priority, lane, seq, tenant, key, args, run_at FROM placed WHERE is_new AND fault IS NULL
    )
    SELECT array_agg(id ORDER BY ordinal) AS ids,
           array_agg(lane) FILTER (WHERE is_new) AS lanes,
           array_agg(seq) FILTER (WHERE is_new) AS seqs,
           min(ordinal) FILTER (WHERE fault IS NOT NULL) AS faulty,
           (SELECT fault FROM placed WHERE fault IS NOT NULL ORDER BY ordinal LIMIT 1) AS fault
      INTO v_all
      FROM placed;
    IF v_all.fault IS NOT NULL THEN
        PERFORM orbit.reject(format('item %s of enqueue_many: %s', v_all.faulty, v_all.fault[1]), v_all.fault[2]);
    END IF;

    FOR v_bell IN
        SELECT lane, coalesce(min(seq), 0) AS first_seq, count(seq)::int AS ready
          FROM unnest(v_all.lanes, v_all.seqs) AS written(lane, seq)
         GROUP BY lane
    LOOP
        PERFORM orbit.ring(v_bell.lane, v_bell.first_seq, v_bell.ready);
    END LOOP;
    RETURN v_all.ids;
END
$$;
