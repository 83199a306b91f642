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

-- name: run_detail
-- Everything about one run: the run.
SELECT v.id, v.pipeline, v.queue, v.state, v.tenant, v.attempt, v.created_at, v.started_at, v.finished_at, v.host, v.slot, v.error,
       v.priority, v.key, v.due_at, v.cause, f.group_id AS "group", r.created_by, r.args::text AS args,
       EXISTS (SELECT FROM orbit.pipelines p WHERE p.name = v.pipeline) AS pipeline_known
  FROM orbit.runs_view v
  JOIN orbit.runs r ON r.id = v.id
  LEFT JOIN orbit.failed f ON f.run_id = v.id
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
SELECT key, 'done' AS state, seconds FROM orbit.steps WHERE run_id = %(run)s::bigint ORDER BY recorded_at, key;

-- name: progress
-- Everything about one run: how far it has come.
SELECT fraction, note, at FROM orbit.run_progress WHERE run_id = %(run)s::bigint;

-- name: cancel_asked
-- Everything about one run: who wants it to stop.
SELECT by, reason, at FROM orbit.cancel_requests WHERE run_id = %(run)s::bigint;

-- name: read_logs
-- A person reads a run's log, from where they left off; attempt 0: before the first.
SELECT line, at AS ts, attempt, level, message
  FROM orbit.run_logs
 WHERE run_id = %(run)s::bigint AND line > %(after)s::int
 ORDER BY line
 LIMIT %(limit)s::int;

-- name: text_arguments
-- orbitctl turns KEY=VALUE into arguments.
SELECT coalesce(signature -> 'text', '[]') AS names FROM orbit.pipelines WHERE name = %(pipeline)s::text;
