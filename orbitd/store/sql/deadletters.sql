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
