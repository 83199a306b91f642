-- name: dead_letter
-- A person looks at one dead letter: all that is known of it.
SELECT run_id AS id, pipeline, queue, priority, tenant, args::text AS args, created_at, attempt, errors, crashes, cause, error,
       group_id AS "group", failed_at, attempts, resolved_at IS NOT NULL AS resolved, resolved_at, resolved_by, notes
  FROM orbit.failed
 WHERE run_id = %(run)s::bigint;

-- name: dlq_resolve
-- A person has dealt with a dead letter. Null: there is no such run.
SELECT orbit.dlq_resolve(%(run)s::bigint, %(by)s::text, %(notes)s::text, %(state)s::text, %(attempt)s::int) AS is_new;

-- name: dlq_delete
-- A person wants no trace of a failed run.
SELECT orbit.dlq_delete(%(run)s::bigint, %(state)s::text, %(attempt)s::int) AS deleted;

-- name: groups
-- A person named a group by how it begins: the groups that do, the first few. One look at the index for each, however many runs it
-- has; any digit of a name sorts before the `g`.
WITH RECURSIVE found AS (
    (SELECT f.group_id, 1 AS number
       FROM orbit.failed f
      WHERE f.group_id >= %(begins)s::text AND f.group_id < %(begins)s::text || 'g'
      ORDER BY f.group_id
      LIMIT 1)
     UNION ALL
    SELECT next.group_id, found.number + 1
      FROM found
     CROSS JOIN LATERAL (
           SELECT f.group_id
             FROM orbit.failed f
            WHERE f.group_id > found.group_id AND f.group_id < %(begins)s::text || 'g'
            ORDER BY f.group_id
            LIMIT 1
           ) AS next
     WHERE found.number < %(most)s::int
)
SELECT group_id FROM found;
