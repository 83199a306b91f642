-- name: cancel
-- An operator cancels a run. Null: there is none.
SELECT orbit.cancel(%(run)s::bigint, %(by)s::text, %(reason)s::text, %(state)s::text, %(attempt)s::int) AS state;

-- name: retry
-- An operator has a run tried again. Null: there is none.
SELECT orbit.retry(%(run)s::bigint, %(by)s::text, %(reason)s::text, %(state)s::text, %(attempt)s::int) AS state;

-- name: resume
-- An operator lets an interrupted run go on. Null: there is none.
SELECT orbit.resume(%(run)s::bigint, %(by)s::text, %(state)s::text, %(attempt)s::int) AS state;

-- name: rerun
-- An operator asks for a run like one that has ended. Null: there is none.
SELECT orbit.rerun(%(run)s::bigint, %(by)s::text, %(reason)s::text, %(state)s::text, %(attempt)s::int) AS id;
