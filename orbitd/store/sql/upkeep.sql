-- name: missing_partitions
-- The partitions of the coming days that there are not.
SELECT parent.name AS "table", day::int AS day
  FROM unnest(ARRAY['runs', 'outcomes', 'steps', 'run_logs']) WITH ORDINALITY AS parent (name, place)
 CROSS JOIN generate_series(
           orbit.first_id(clock_timestamp()) >> 39, (orbit.first_id(clock_timestamp()) >> 39) + %(days)s::int
       ) AS day
 WHERE to_regclass('orbit.' || orbit.partition_name(parent.name, day::int)) IS NULL
 ORDER BY day, parent.place;

-- name: left_exclusions
-- Days that exclude_day has forbidden, and nobody has gone on with, although rows of them may come now or soon.
SELECT parent.name AS "table", found.day
  FROM unnest(ARRAY['runs', 'outcomes', 'steps', 'run_logs']) AS parent (name)
  JOIN pg_constraint c ON c.conrelid = ('orbit.' || parent.name || '_default')::regclass AND c.conname::text ~ ('^' || parent.name || '_\d{8}$')
 CROSS JOIN LATERAL (
       SELECT to_date(substring(c.conname::text FROM '\d{8}'), 'YYYYMMDD') - date '2020-01-01' AS day
       ) AS found
 WHERE NOT orbit.may_exclude(parent.name, found.day);

-- name: include_day
-- Each of them; and after each that was to be made, in case that it was not.
SELECT orbit.include_day(%(table)s::text, %(day)s::int) AS included;

-- name: exclude_day
-- Before each that is made or dropped, as long as there is something to do.
SELECT orbit.exclude_day(%(table)s::text, %(day)s::int) AS goes_on;

-- name: make_partition
-- One of them.
SELECT orbit.make_partition(%(table)s::text, %(day)s::int) AS made;

-- name: old_partitions
-- Partitions whose days are too old to be kept whole, but for those of which much is still needed: the oldest day first, and of each day `runs` first.
SELECT parent.name AS "table", child.relname::text AS name, found.day
  FROM unnest(ARRAY['runs', 'outcomes', 'steps', 'run_logs']) WITH ORDINALITY AS parent (name, place)
  JOIN pg_inherits i ON i.inhparent = ('orbit.' || parent.name)::regclass
  JOIN pg_class child ON child.oid = i.inhrelid AND child.relname ~ '_\d{8}(_kept)?$'
 CROSS JOIN LATERAL (
       SELECT to_date(substring(child.relname FROM '_(\d{8})'), 'YYYYMMDD') - date '2020-01-01' AS day
       ) AS found
 WHERE found.day < orbit.first_id(
           clock_timestamp() - make_interval(secs => CASE parent.name WHEN 'run_logs' THEN %(logs)s::float8 ELSE %(succeeded)s::float8 END)
       ) >> 39
   AND CASE WHEN child.relname ~ '_kept$' THEN NOT orbit.has_many(child.relname::text) ELSE true END
 ORDER BY found.day, parent.place, child.relname;

-- name: prune_partition
-- One of them.
SELECT orbit.prune_partition(
           %(table)s::text, %(name)s::text, %(day)s::int, clock_timestamp() - make_interval(secs => %(succeeded)s::float8)
       ) AS kept;

-- name: promote_overdue
-- Runs that should have been moved more than 5 minutes ago: their producer has committed late, or nobody was there.
SELECT orbit.promote(%(limit)s::int, '-infinity', clock_timestamp() - interval '5 min') AS promoted;

-- name: prune_runs
-- Runs that are kept row by row.
SELECT orbit.prune_runs(clock_timestamp() - make_interval(secs => %(succeeded)s::float8), %(limit)s::int) AS gone;

-- name: prune_resolved
-- Dead letters that somebody has dealt with.
SELECT orbit.prune_resolved(clock_timestamp() - make_interval(secs => %(failed)s::float8), %(limit)s::int) AS gone;

-- name: prune_keys
-- Keys whose period is over.
SELECT orbit.prune_keys(%(limit)s::int) AS gone;

-- name: prune_leftovers
-- What is kept aside of runs.
SELECT orbit.prune_leftovers(
           clock_timestamp() - make_interval(secs => %(succeeded)s::float8), clock_timestamp() - make_interval(secs => %(logs)s::float8),
           %(limit)s::int
       ) AS gone;

-- name: prune_hosts
-- Hosts and children that have long ended.
SELECT orbit.prune_hosts(clock_timestamp() - make_interval(secs => %(succeeded)s::float8), %(limit)s::int) AS gone;

-- name: take_duty
-- When one may be due, and again after each.
SELECT orbit.take_duty(%(host)s::int, %(known)s::text[]) AS duty;

-- name: end_duty
-- After each.
SELECT orbit.end_duty(%(duty)s::text, %(error)s::text) AS ended;

-- name: duties
-- Every few minutes: whether the fleet does its duties, and when the next one is due.
SELECT name, extract(epoch FROM every)::float8 AS every_seconds, extract(epoch FROM clock_timestamp() - done_at)::float8 AS age_seconds,
       error
  FROM orbit.duties
 ORDER BY name;

-- name: horizon
-- Every few minutes: who holds back vacuum most, so that the dead rows of all tables stay. Of two with the same age the one that came
-- first; the other only sees what it holds. A writer counts in whichever database, because every snapshot is held by it.
-- Without pg_read_all_stats a role sees of others only that they write, from pg_locks, and not since when.
SELECT holder.kind, holder.name, holder.application, holder."user", holder.state, holder.seconds, holder.transactions
  FROM (
       SELECT 'session' AS kind, a.pid::text AS name, a.application_name AS application, a.usename::text AS "user", a.state,
              extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds,
              greatest(age(a.backend_xmin), written.age) AS transactions
         FROM pg_stat_activity a
         LEFT JOIN (
              SELECT l.pid, max(age(l.transactionid)) AS age
                FROM pg_locks l
               WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'
               GROUP BY l.pid
              ) AS written ON written.pid = a.pid
        WHERE (written.age IS NOT NULL
               OR a.backend_xmin IS NOT NULL AND (a.datname = current_database() OR a.backend_type = 'walsender'))
          AND a.pid <> pg_backend_pid() AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
          AND a.pid NOT IN (SELECT v.pid FROM pg_stat_progress_vacuum v)
        UNION ALL
       SELECT 'prepared', p.gid, NULL, p.owner::text, 'prepared', extract(epoch FROM clock_timestamp() - p.prepared)::float8,
              age(p.transaction)
         FROM pg_prepared_xacts p
        UNION ALL
       SELECT 'slot', s.slot_name::text, s.plugin::text, NULL, CASE WHEN s.active THEN 'active' ELSE 'inactive' END, NULL,
              greatest(age(s.xmin), age(s.catalog_xmin))
         FROM pg_replication_slots s
        WHERE coalesce(s.xmin, s.catalog_xmin) IS NOT NULL
       ) AS holder
 ORDER BY holder.transactions DESC, holder.seconds DESC NULLS LAST
 LIMIT 1;
