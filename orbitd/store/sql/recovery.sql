-- name: lost
-- A person asks what was interrupted, and what is in nobody's hands. Reads all of `live`, as lost_runs does.
SELECT lost.run_id AS id, lost.attempt, lost.state, lost.cause, lost.since
  FROM (
       SELECT i.run_id, i.attempt, 'interrupted' AS state, i.cause, i.at AS since
         FROM orbit.interrupted i
        UNION ALL
       SELECT l.run_id, l.attempt, 'running',
              CASE WHEN c.ended_cause IS NULL OR c.ended_cause = 'host_lost' THEN 'host_lost' ELSE 'interrupted' END,
              least(c.ended_at, h.lease_until)
         FROM orbit.live l
         JOIN orbit.children c ON c.id = l.child
         JOIN orbit.hosts h ON h.id = c.host
        WHERE l.state = 1 AND (c.ended_at IS NOT NULL OR h.lease_until < clock_timestamp())
       ) AS lost
 WHERE lost.since <= clock_timestamp() - make_interval(secs => %(older_than)s::float8)
 ORDER BY lost.since, lost.run_id
 LIMIT %(limit)s::int;

-- name: whereabouts
-- The same: what those runs are, where they were, and how far they had come.
SELECT v.id, v.pipeline, v.host, v.slot, last.key AS last_step,
       (SELECT count(*)::int FROM orbit.steps s WHERE s.run_id = v.id) AS steps
  FROM orbit.runs_view v
  LEFT JOIN LATERAL (
       SELECT s.key
         FROM orbit.steps s
        WHERE s.run_id = v.id
        ORDER BY s.recorded_at DESC, s.key DESC
        LIMIT 1
       ) AS last ON true
 WHERE v.id = ANY (%(ids)s::bigint[]);

-- name: end_silent_hosts
-- A person says that hosts which were not heard of for so long are gone.
SELECT orbit.end_silent_hosts(%(older_than)s::float8) AS ended;

-- name: resume_held
-- A person lets all runs go on that are held.
SELECT orbit.resume_held(%(older_than)s::float8, %(by)s::text, %(limit)s::int) AS run_id;
