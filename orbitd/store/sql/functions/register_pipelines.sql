-- Say what a host serves, as its mold reported it; the newest report of a pipeline's queue, priority, signature and limits
-- stands for the fleet. Runs that waited for these names are sorted by the beats that follow.
-- Locks: hosts; pipelines and lanes in order of their key.
CREATE OR REPLACE FUNCTION orbit.register_pipelines(
    p_host int, p_names text[], p_queues text[], p_priorities int[], p_signatures jsonb[], p_max_attempts int[], p_max_crashes int[]
) RETURNS SETOF orbit.lanes
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE orbit.hosts h SET pipelines = p_names, sorted_seq = 0 WHERE h.id = p_host AND h.ended_at IS NULL;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'OR001' USING MESSAGE = format('host %s was ended', p_host);
    END IF;

    INSERT INTO orbit.pipelines AS p (name, queue, priority, signature, max_attempts, max_crashes, needs, takes)
    SELECT s.*,
           ARRAY(SELECT jsonb_array_elements_text(s.signature -> 'required')),
           CASE WHEN NOT coalesce((s.signature ->> 'open')::boolean, false) THEN
                ARRAY(SELECT jsonb_array_elements_text(s.signature -> 'required'))
                || ARRAY(SELECT jsonb_array_elements_text(s.signature -> 'optional'))
           END
      FROM unnest(p_names, p_queues, p_priorities, p_signatures, p_max_attempts, p_max_crashes)
        AS s(name, queue, priority, signature, max_attempts, max_crashes)
     ORDER BY s.name
        ON CONFLICT (name) DO UPDATE
       SET queue = excluded.queue, priority = excluded.priority, signature = excluded.signature,
           max_attempts = excluded.max_attempts, max_crashes = excluded.max_crashes, registered_at = clock_timestamp(),
           needs = excluded.needs, takes = excluded.takes
     WHERE (p.queue, p.priority, p.signature, p.max_attempts, p.max_crashes) IS DISTINCT FROM
           (excluded.queue, excluded.priority, excluded.signature, excluded.max_attempts, excluded.max_crashes);

    INSERT INTO orbit.lanes (queue, pipeline, priority)
    SELECT s.queue, s.name, s.priority
      FROM unnest(p_names, p_queues, p_priorities) AS s(name, queue, priority)
     WHERE NOT EXISTS (
               SELECT FROM orbit.lanes l WHERE l.pipeline = s.name AND l.queue = s.queue AND l.priority = s.priority
           )
     ORDER BY s.name, s.queue, s.priority
        ON CONFLICT DO NOTHING;

    RETURN QUERY SELECT l.* FROM orbit.lanes l WHERE l.pipeline = ANY (p_names) ORDER BY l.priority DESC, l.id;
END
$$;
