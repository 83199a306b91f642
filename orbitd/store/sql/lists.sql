-- name: by_index
-- Before the others of this file, in their transaction: the tables change faster than what the planner knows of them, and each
-- statement here has an index for what it asks. A parallel worker takes longer to start than they take.
SELECT set_config('max_parallel_workers_per_gather', '0', true), set_config(name, 'off', true)
  FROM unnest(ARRAY[
           'enable_seqscan', 'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin', 'enable_material', 'jit'
       ]) AS name;

-- name: latest_ids
-- A page of a list of runs: which to look at, the newest first.
SELECT id
  FROM orbit.runs
 WHERE id < %(before)s::bigint AND id >= %(first)s::bigint
 ORDER BY id DESC
 LIMIT %(limit)s::int;

-- name: scheduled_ids
-- The same, when only scheduled runs are asked for.
SELECT run_id AS id
  FROM orbit.delayed
 WHERE run_id < %(before)s::bigint AND run_id >= %(first)s::bigint
 ORDER BY run_id DESC
 LIMIT %(limit)s::int;

-- name: interrupted_ids
-- The same for interrupted runs.
SELECT run_id AS id
  FROM orbit.interrupted
 WHERE run_id < %(before)s::bigint AND run_id >= %(first)s::bigint
 ORDER BY run_id DESC
 LIMIT %(limit)s::int;

-- name: failed_ids
-- The same for failed runs.
SELECT run_id AS id
  FROM orbit.failed
 WHERE run_id < %(before)s::bigint AND run_id >= %(first)s::bigint
   AND (%(pipelines)s::text[] IS NULL OR pipeline LIKE ANY (%(pipelines)s::text[]))
 ORDER BY run_id DESC
 LIMIT %(limit)s::int;

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
 WHERE (%(pipelines)s::text[] IS NULL OR lanes.pipeline LIKE ANY (%(pipelines)s::text[]))
   AND head.state = 1 AND head.run_id < %(before)s::bigint AND head.run_id >= %(first)s::bigint
 ORDER BY 1 DESC
 LIMIT %(limit)s::int;

-- name: pending_ids
-- The same for pending runs, as long as they are few: see waiting. Lane 1 has runs of any pipeline.
SELECT l.run_id AS id
  FROM orbit.lanes
 CROSS JOIN LATERAL (SELECT v.run_id, v.state FROM orbit.live v WHERE v.lane = lanes.id OFFSET 0) AS l
 WHERE (%(pipelines)s::text[] IS NULL OR lanes.id = 1 OR lanes.pipeline LIKE ANY (%(pipelines)s::text[]))
   AND l.state = 0 AND l.run_id < %(before)s::bigint AND l.run_id >= %(first)s::bigint
 ORDER BY 1 DESC
 LIMIT %(limit)s::int;

-- name: waiting
-- How many rows pending_ids would read, up to a limit.
SELECT count(*)::int AS rows
  FROM (
       SELECT
         FROM orbit.lanes
        CROSS JOIN LATERAL (SELECT FROM orbit.live v WHERE v.lane = lanes.id OFFSET 0) AS l
        WHERE %(pipelines)s::text[] IS NULL OR lanes.id = 1 OR lanes.pipeline LIKE ANY (%(pipelines)s::text[])
        LIMIT %(limit)s::int
       ) AS read;

-- name: queued_ids
-- The same for pending runs when they are many: not in the order of their ids but in that of waiting, the last first. The run to
-- go on before may wait no longer; `runs` and requeued know where it did.
SELECT tail.run_id AS id
  FROM orbit.lanes
 CROSS JOIN (
       SELECT coalesce(max(coalesce(q.seq, r.seq)), 9223372036854775807) AS before
         FROM orbit.runs r
         LEFT JOIN orbit.requeued q ON q.run_id = r.id
        WHERE r.id = %(before)s::bigint
       ) AS page
 CROSS JOIN LATERAL (
       SELECT l.run_id, l.seq
         FROM orbit.live l
        WHERE l.lane = lanes.id AND l.seq < page.before AND l.state = 0 AND l.run_id >= %(first)s::bigint
        ORDER BY l.lane DESC, l.seq DESC
        LIMIT %(limit)s::int
       ) AS tail
 WHERE %(pipelines)s::text[] IS NULL OR lanes.id = 1 OR lanes.pipeline LIKE ANY (%(pipelines)s::text[])
 ORDER BY tail.seq DESC
 LIMIT %(limit)s::int;

-- name: ended_ids
-- The same for runs that have ended: those that have an outcome.
SELECT DISTINCT run_id AS id
  FROM orbit.outcomes
 WHERE run_id < %(before)s::bigint AND run_id >= %(first)s::bigint
 ORDER BY run_id DESC
 LIMIT %(limit)s::int;

-- name: group_ids
-- The same for the failed runs of groups.
WITH found AS MATERIALIZED (SELECT run_id FROM orbit.failed WHERE group_id = ANY (%(groups)s::text[]))
SELECT run_id AS id
  FROM found
 WHERE run_id < %(before)s::bigint AND run_id >= %(first)s::bigint
 ORDER BY run_id DESC
 LIMIT %(limit)s::int;

-- name: key_ids
-- The same for the runs that had keys.
WITH found AS MATERIALIZED (SELECT id FROM orbit.runs WHERE key = ANY (%(keys)s::text[]))
SELECT id
  FROM found
 WHERE id < %(before)s::bigint AND id >= %(first)s::bigint
 ORDER BY id DESC
 LIMIT %(limit)s::int;

-- name: created_at
-- Whether a list has come to the runs that are too old for it.
SELECT created_at FROM orbit.runs WHERE id = %(run)s::bigint;

-- name: runs_of_ids
-- A page of a list of runs: those of the runs looked at that the filter wants.
SELECT v.id, v.pipeline, v.queue, v.state, v.tenant, v.attempt, v.created_at, v.started_at, v.finished_at, v.host, v.slot, v.error
  FROM orbit.runs_view v
 WHERE v.id = ANY (%(ids)s::bigint[]) /* filter */
 ORDER BY v.id DESC;

-- name: dead_letters_of_ids
-- The same for a list of dead letters.
SELECT f.run_id AS id, f.pipeline, f.error, f.cause, f.failed_at, f.group_id AS "group", f.resolved_at IS NOT NULL AS resolved,
       f.queue, f.tenant, f.attempt, f.resolved_by, v.state, f.created_at
  FROM orbit.failed f
  JOIN orbit.runs_view v ON v.id = f.run_id
 WHERE f.run_id = ANY (%(ids)s::bigint[]) AND v.id = ANY (%(ids)s::bigint[]) AND (%(resolved)s::boolean OR f.resolved_at IS NULL) /* filter */
 ORDER BY f.run_id DESC;

-- name: pins
-- A person named runs, to do something to them.
SELECT v.id, v.pipeline, v.state, v.attempt, v.created_at FROM orbit.runs_view v WHERE v.id = ANY (%(ids)s::bigint[]);

-- name: pipelines
-- What the fleet can run, who serves it, and how much of it there is. No count looks further than it counts; that of the failed
-- looks at the latest, because the resolved stand among them.
SELECT p.name, p.queue, p.priority, p.max_attempts, p.max_crashes,
       ARRAY(
           SELECT h.name
             FROM orbit.hosts h
            WHERE h.ended_at IS NULL AND h.lease_until > clock_timestamp() AND p.name = ANY (h.pipelines)
            ORDER BY h.name
       ) AS hosts,
       least(sum(waiting.pending), %(most)s::int)::int AS pending,
       least(sum(waiting.running), %(most)s::int)::int AS running,
       least(sum(waiting.scheduled), %(most)s::int)::int AS scheduled,
       (SELECT count(*) FILTER (WHERE latest.resolved_at IS NULL)::int
          FROM (
               SELECT f.resolved_at
                 FROM orbit.failed f
                WHERE f.pipeline = p.name
                ORDER BY f.pipeline, f.run_id DESC
                LIMIT %(most)s::int
               ) AS latest) AS failed,
       jsonb_build_object(
           'required', coalesce(p.signature -> 'required', '[]'),
           'optional', coalesce(p.signature -> 'optional', '[]'),
           'open', coalesce(p.signature -> 'open', 'false')
       ) AS arguments,
       p.registered_at
  FROM orbit.pipelines p
  JOIN orbit.lanes ON lanes.pipeline = p.name
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE head.state = 0) AS pending,
              count(*) FILTER (WHERE head.state = 1) AS running,
              (SELECT count(*)
                 FROM (SELECT FROM orbit.delayed d WHERE d.lane = lanes.id LIMIT %(most)s::int) AS due) AS scheduled
         FROM (
              SELECT l.state
                FROM orbit.live l
               WHERE l.lane = lanes.id
               ORDER BY l.lane, l.seq
               LIMIT 2 * %(most)s::int
              ) AS head
       ) AS waiting
 GROUP BY p.name
 ORDER BY p.name;

-- name: unknown_pipelines
-- The same for pipelines that runs wait for and no daemon has told of. Those runs are in lane 1, of which only the head is read.
SELECT r.pipeline AS name,
       (count(*) FILTER (WHERE asked.is_pending))::int AS pending,
       (count(*) FILTER (WHERE NOT asked.is_pending))::int AS scheduled
  FROM (
       (SELECT l.run_id, true AS is_pending FROM orbit.live l WHERE l.lane = 1 ORDER BY l.lane, l.seq LIMIT %(most)s::int)
        UNION ALL
       (SELECT d.run_id, false FROM orbit.delayed d WHERE d.lane = 1 LIMIT %(most)s::int)
       ) AS asked
  JOIN orbit.runs r ON r.id = asked.run_id
 WHERE NOT EXISTS (SELECT FROM orbit.pipelines p WHERE p.name = r.pipeline)
 GROUP BY r.pipeline
 ORDER BY r.pipeline;

-- name: pipeline_names
-- A person named a pipeline that there is not.
SELECT name FROM orbit.pipelines ORDER BY name;
