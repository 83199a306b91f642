-- name: register
-- A janitor starts.
SELECT orbit.register_host(
           %(boot_id)s::text, %(name)s::text, %(pid)s::int, %(version)s::text, %(lease_seconds)s::float8
       ) AS host_id;

-- name: register_pipelines
-- A mold has told what it can run.
SELECT id, queue, pipeline, priority
  FROM orbit.register_pipelines(
           %(host)s::int, %(names)s::text[], %(queues)s::text[], %(priorities)s::int[], %(signatures)s::jsonb[],
           %(max_attempts)s::int[], %(max_crashes)s::int[]
       );

-- name: lanes_of
-- A child learns where to ask.
SELECT id, queue, pipeline, priority
  FROM orbit.lanes
 WHERE pipeline = ANY (%(names)s::text[])
 ORDER BY priority DESC, id;

-- name: beat
-- Every few seconds, and when a bell rings.
SELECT alive, server_since, last_seq, lease_seconds_left, lanes, lanes_with_work, first_seqs, next_due_seconds, others_lapsed,
       cancel_runs, cancel_children
  FROM orbit.beat(%(host)s::int, %(lease_seconds)s::float8, %(lanes)s::int[], %(floors)s::bigint[], %(probes)s::boolean);

-- name: sweep
-- While there are claims: who has committed late?
SELECT server_since, last_seq, safe_seq, lanes, seqs FROM orbit.sweep(%(lanes)s::int[], %(bounds)s::bigint[]);

-- name: start_child
-- A child has connected, for the first time or again.
SELECT orbit.start_child(
           %(host)s::int, %(slot)s::int, %(nonce)s::text, %(pid)s::int,
           %(lanes)s::int[], %(seqs)s::bigint[], %(runs)s::bigint[], %(tokens)s::bigint[],
           %(asked_token)s::bigint, %(asked_lanes)s::int[]
       ) AS child_id;

-- name: interrupt
-- A child has died.
SELECT run_id, state
  FROM orbit.interrupt(
           %(child)s::int, %(lanes)s::int[], %(seqs)s::bigint[], %(runs)s::bigint[], %(tokens)s::bigint[], %(begun)s::boolean[],
           %(asked_token)s::bigint, %(asked_lanes)s::int[],
           %(charge)s::text, %(cause)s::text, %(error)s::text, %(stack)s::text, %(hold)s::boolean
       );

-- name: end_sessions
-- A child has died, and what it was doing in the database goes on and holds its run.
SELECT count(pg_terminate_backend(pid))::int AS ended
  FROM pg_stat_activity
 WHERE application_name = %(application_name)s::text AND datname = current_database() AND pid <> pg_backend_pid()
   AND xact_start IS NOT NULL;

-- name: end_host
-- A host stops, or its next incarnation finds what it left.
SELECT orbit.end_host(id, %(cause)s::text) AS ended FROM orbit.hosts WHERE boot_id = %(boot_id)s::text;

-- name: rescue
-- When a beat has seen that a lease has lapsed.
SELECT orbit.rescue(%(host)s::int) AS ended;

-- name: end_missing_children
-- Before reconcile.
SELECT orbit.end_missing_children(%(host)s::int, %(living)s::int[]) AS ended;

-- name: lost_runs
-- After a host was ended, with each new connection of a janitor's and every few minutes; and when a person recovers what was lost.
SELECT lane, seq, run_id, token, child, begun FROM orbit.lost_runs(%(older_than)s::float8);

-- name: reconcile
-- Then: a batch of those.
SELECT run_id, state
  FROM orbit.reconcile(
           %(lanes)s::int[], %(seqs)s::bigint[], %(runs)s::bigint[], %(tokens)s::bigint[], %(children)s::int[], %(begun)s::boolean[],
           %(hold)s::boolean
       );
