-- name: load_steps
-- A child begins an attempt: what earlier attempts have done already.
SELECT key, output::text AS output FROM orbit.steps WHERE run_id = %(run)s::bigint;

-- name: record_step
-- A step has ended.
SELECT orbit.record_step(
           %(lane)s::int, %(seq)s::bigint, %(run)s::bigint, %(token)s::bigint, %(key)s::text, %(output)s::json, %(seconds)s::float8
       )::text AS output;

-- name: hold_run
-- A pipeline opens a transaction of its own: until its end nobody can take the run back. No row: fenced.
-- Whatever the pipeline executes then, the server looks ten times a second whether its client still lives, behind a pooler too:
-- the session of a dead child must not go on holding the run.
SELECT run_id,
       CASE WHEN current_setting('server_version_num')::int >= 140000
            THEN set_config('client_connection_check_interval', '100ms', true)
        END AS checks_client
  FROM orbit.live
 WHERE lane = %(lane)s::int AND seq = %(seq)s::bigint AND run_id = %(run)s::bigint AND token = %(token)s::bigint AND state = 1
   FOR KEY SHARE;

-- name: end_role
-- Its transaction is about to be counted. Whatever role the pipeline has taken in it need not know of us; none: the connection's own.
SELECT set_config('role', NULL, true) AS role, NOT current_setting('transaction_read_only')::boolean AS may_write;

-- name: count_commit
-- Its transaction is about to commit.
SELECT orbit.count_commit(%(lane)s::int, %(seq)s::bigint, %(run)s::bigint, %(token)s::bigint) AS commits;

-- name: last_commit
-- The connection was lost while it committed: what has become of it?
SELECT orbit.last_commit(%(lane)s::int, %(seq)s::bigint, %(run)s::bigint, %(token)s::bigint) AS commits;

-- name: record_progress
-- A run says how far it has come.
SELECT orbit.save_progress(
           %(lane)s::int, %(seq)s::bigint, %(run)s::bigint, %(token)s::bigint, %(fraction)s::float8, %(note)s::text
       ) AS saved;

-- name: append_logs
-- A run's log lines, a batch.
SELECT orbit.append_logs(
           %(lane)s::int, %(seq)s::bigint, %(run)s::bigint, %(token)s::bigint,
           %(times)s::timestamptz[], %(levels)s::text[], %(messages)s::text[], %(max_bytes)s::int
       ) AS kept;
