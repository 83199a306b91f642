-- Predicates on a row v of orbit.runs_view: one for each term of a filter, to be put after a WHERE by lists.py.

-- name: state
-- state:failed,interrupted
v.state = ANY (%(values)s::text[])

-- name: pipeline
-- pipeline:invoice.*
v.pipeline LIKE ANY (%(values)s::text[])

-- name: queue
-- queue:mail
v.queue LIKE ANY (%(values)s::text[])

-- name: tenant
-- tenant:42
v.tenant = ANY (%(values)s::text[])

-- name: step
-- step:load: the run has done such a step.
EXISTS (SELECT FROM orbit.steps s WHERE s.run_id = v.id AND s.key LIKE ANY (%(values)s::text[]))

-- name: error
-- error:Timeout*
v.error LIKE ANY (%(values)s::text[])

-- name: group
-- group:g5f2c1a90
EXISTS (SELECT FROM orbit.failed f WHERE f.run_id = v.id AND f.group_id = ANY (%(values)s::text[]))

-- name: args
-- args.tenant_id:42
EXISTS (SELECT FROM orbit.runs r WHERE r.id = v.id AND r.args ->> %(name)s::text = ANY (%(values)s::text[]))

-- name: host
-- host:prod-a
v.host LIKE ANY (%(values)s::text[])

-- name: slot
-- slot:3
v.slot::numeric <@ ANY (%(values)s::numrange[])

-- name: key
-- key:inv-42
v.key = ANY (%(values)s::text[])

-- name: since
-- since:1h
v.created_at >= %(values)s::timestamptz

-- name: took
-- took:>10s: the last attempt that has ended, or the one that runs.
extract(
    epoch FROM coalesce(v.finished_at, CASE v.state WHEN 'running' THEN clock_timestamp() END) - v.started_at
)::numeric <@ ANY (%(values)s::numrange[])

-- name: attempt
-- attempt:>=3
v.attempt::numeric <@ ANY (%(values)s::numrange[])
