-- A producer asks for a run.
SELECT o_id AS id, o_created AS created, o_state AS state
  FROM orbit.insert_run(
           %(pipeline)s::text, %(args)s::text::jsonb, %(key)s::text, make_interval(secs => %(key_for_seconds)s::float8),
           coalesce(%(at)s::text::timestamptz, clock_timestamp() + make_interval(secs => %(in_seconds)s::float8)),
           %(tenant)s::text, %(priority)s::int, %(queue)s::text
       );
