-- Ask for many runs at once: a JSON array of objects with the parameters of `enqueue`. Returns their ids in the same order.
-- Locks: keys, sorted, so that two producers with the same keys never wait for each other in a circle.
CREATE OR REPLACE FUNCTION orbit.enqueue_many(runs jsonb) RETURNS bigint[]
LANGUAGE plpgsql
AS $$
DECLARE
    v_asked record;
    v_run   record;
    v_bell  record;
    v_ids   bigint[];
    v_lanes int[];
    v_seqs  bigint[];
    v_odd   text;
BEGIN
    IF jsonb_typeof(runs) IS DISTINCT FROM 'array' THEN
        PERFORM orbit.reject('enqueue_many takes a JSON array', 'give [{"pipeline": "name", "args": {...}}, ...]');
    END IF;
    FOR v_asked IN
        SELECT item, ordinal::int AS ordinal
          FROM jsonb_array_elements(runs) WITH ORDINALITY AS asked(item, ordinal)
         ORDER BY item ->> 'pipeline', item ->> 'key', ordinal
    LOOP
        IF jsonb_typeof(v_asked.item) <> 'object' THEN
            PERFORM orbit.reject(format('item %s of enqueue_many is not a JSON object', v_asked.ordinal));
        END IF;
        SELECT string_agg(format('"%s"', name), ', ') INTO v_odd
          FROM jsonb_object_keys(v_asked.item) AS name
         WHERE name NOT IN ('pipeline', 'args', 'key', 'run_at', 'tenant', 'priority', 'queue');
        IF v_odd IS NOT NULL THEN
            PERFORM orbit.reject(
                format('item %s of enqueue_many has an unknown %s', v_asked.ordinal, v_odd),
                'it may have pipeline, args, key, run_at, tenant, priority, queue'
            );
        END IF;

        SELECT * INTO v_run
          FROM orbit.insert_run(
                   v_asked.item ->> 'pipeline', coalesce(v_asked.item -> 'args', '{}'), v_asked.item ->> 'key',
                   (v_asked.item ->> 'run_at')::timestamptz, v_asked.item ->> 'tenant',
                   (v_asked.item ->> 'priority')::int, v_asked.item ->> 'queue', false
               );
        v_ids[v_asked.ordinal] := v_run.o_id;
        IF v_run.o_created THEN
            v_lanes := v_lanes || v_run.o_lane;
            v_seqs := v_seqs || v_run.o_seq;
        END IF;
    END LOOP;

    FOR v_bell IN
        SELECT lane, coalesce(min(seq), 0) AS first_seq, count(seq)::int AS ready
          FROM unnest(v_lanes, v_seqs) AS written(lane, seq)
         GROUP BY lane
    LOOP
        PERFORM orbit.ring(v_bell.lane, v_bell.first_seq, v_bell.ready);
    END LOOP;
    RETURN coalesce(v_ids, '{}');
END
$$;
