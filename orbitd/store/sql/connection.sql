-- name: greet
-- A connection was made. Is a pooler in between? Then the server's process is another than the one that the protocol has named,
-- and what is set for the session would be found by others. If not: the server looks ten times a second whether its client
-- still lives, so that the session of a dead child does not go on holding what it had locked.
SELECT us.is_pooled,
       CASE WHEN NOT us.is_pooled AND current_setting('server_version_num')::int >= 140000
            THEN set_config('client_connection_check_interval', '100ms', false)
        END AS checks_client
  FROM (SELECT coalesce(%(is_pooled)s::boolean, pg_backend_pid() <> %(pid)s::int)) AS us (is_pooled);
