-- name: enqueue
-- A producer asks for a run.
SELECT o_id AS id, o_created AS created, o_state AS state
  FROM orbit.insert_run(
           %(pipeline)s::text, %(args)s::jsonb, %(key)s::text,
           coalesce(%(at)s::timestamptz, clock_timestamp() + make_interval(secs => %(in_seconds)s::float8)),
           %(tenant)s::text, %(priority)s::int, %(queue)s::text, true
       );

-- name: enqueue_many
-- A producer asks for many.
SELECT orbit.enqueue_many(%(runs)s::jsonb) AS ids;

-- name: cancel
-- An operator cancels a run. Null: there is none.
SELECT orbit.cancel(%(run)s::bigint, %(by)s::text, %(reason)s::text) AS state;

-- name: resume
-- An operator lets an interrupted run go on.
SELECT orbit.resume(%(run)s::bigint) AS resumed;

-- name: place
-- Somebody waits for a run.
SELECT state, lane, seq, attempt FROM orbit.run_place(%(run)s::bigint);

-- name: full_ids
-- A person gave the short form of an id: the run of that number, on whichever day it was made. `runs` is asked by key for
-- each day since the first.
SELECT r.id
  FROM orbit.runs r
 WHERE r.id = ANY (ARRAY(
           SELECT (day << 39) | %(number)s::bigint
             FROM generate_series(
                      (SELECT min(id) >> 39 FROM orbit.runs),
                      (SELECT max(id) >> 39 FROM orbit.runs)
                  ) AS day
       ));

-- name: known_id
-- A person gave a full id.
SELECT id FROM orbit.runs WHERE id = %(number)s::bigint;

-- name: latest_ids
-- A page of a list of runs: which to look at, the newest first.
SELECT id FROM orbit.runs WHERE id < %(before)s::bigint ORDER BY id DESC LIMIT %(limit)s::int;

-- name: scheduled_ids
-- The same, when only scheduled runs are asked for.
SELECT run_id AS id FROM orbit.delayed WHERE run_id < %(before)s::bigint ORDER BY run_id DESC LIMIT %(limit)s::int;

-- name: interrupted_ids
-- The same for interrupted runs.
SELECT run_id AS id FROM orbit.interrupted WHERE run_id < %(before)s::bigint ORDER BY run_id DESC LIMIT %(limit)s::int;

-- name: failed_ids
-- The same for failed runs.
SELECT run_id AS id FROM orbit.failed WHERE run_id < %(before)s::bigint ORDER BY run_id DESC LIMIT %(limit)s::int;

-- name: running_ids
-- The same for running runs. They stand at the heads of their lanes, however many wait behind.
SELECT head.run_id AS id
  FROM orbit.lanes
 CROSS JOIN LATERAL (
       SELECT l.run_id, l.state
         FROM orbit.live l
        WHERE l.lane = lanes.id
        ORDER BY l.lane, l.seq
        LIMIT 1000
       ) AS head
 WHERE head.state = 1 AND head.run_id < %(before)s::bigint
 ORDER BY 1 DESC
 LIMIT %(limit)s::int;

-- name: runs_of_ids
-- A page of a list of runs: those of the runs looked at that were asked for.
SELECT id, pipeline, queue, state, tenant, attempt, created_at, started_at, finished_at, host, slot, error
  FROM orbit.runs_view
 WHERE id = ANY (%(ids)s::bigint[])
   AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s::text[]))
   AND (%(pipeline)s::text IS NULL OR pipeline LIKE %(pipeline)s::text)
 ORDER BY id DESC;

-- name: run_detail
-- Everything about one run: the run.
SELECT v.id, v.pipeline, v.queue, v.state, v.tenant, v.attempt, v.created_at, v.started_at, v.finished_at, v.host, v.slot, v.error,
       v.priority, v.key, v.due_at, v.cause, r.created_by, r.args::text AS args
  FROM orbit.runs_view v
  JOIN orbit.runs r ON r.id = v.id
 WHERE v.id = %(run)s::bigint;

-- name: attempts
-- Everything about one run: how its attempts ended. A run that was cancelled while it waited has an outcome without one.
SELECT o.attempt, o.outcome, o.cause, o.error, o.traceback, o.stack, h.name AS host, c.slot,
       o.started_at, o.finished_at, o.result::text AS result
  FROM orbit.outcomes o
  LEFT JOIN orbit.children c ON c.id = o.child
  LEFT JOIN orbit.hosts h ON h.id = c.host
 WHERE o.run_id = %(run)s::bigint AND o.token > 0
 ORDER BY o.finished_at;

-- name: steps
-- Everything about one run: its steps.
SELECT key, 'done' AS state, seconds FROM orbit.steps WHERE run_id = %(run)s::bigint ORDER BY recorded_at;

-- name: progress
-- Everything about one run: how far it has come.
SELECT fraction, note, at FROM orbit.run_progress WHERE run_id = %(run)s::bigint;

-- name: text_arguments
-- orbitctl turns KEY=VALUE into arguments.
SELECT coalesce(signature -> 'text', '[]') AS names FROM orbit.pipelines WHERE name = %(pipeline)s::text;
