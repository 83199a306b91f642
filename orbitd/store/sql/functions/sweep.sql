-- Look for runs of producers who have committed late: the first pending run of each of these lanes, from the number on that
-- stands beside it. Called by janitors each second while there are claims, and in full now and then, which must find nothing.
--     server_since   when this server was started: another time is another server
--     last_seq       the highest number given out
--     safe_seq       all producers of numbers up to this one had ended before the look
-- The order matters: first the highest number, then who is still at work, then the runs. A producer announces itself before it
-- takes its number, so whoever has one that we know of and has not ended is seen; and whoever had ended is seen in the runs.
-- Blocks of numbers are compared as if on a clock: a lock that is less than half a turn behind us is of a number before last_seq.
-- Runs that were taken back (`returned`) are left out: beats find those.
-- Locks: none.
CREATE OR REPLACE FUNCTION orbit.sweep(
    p_lanes int[], p_bounds bigint[],
    OUT server_since timestamptz, OUT last_seq bigint, OUT safe_seq bigint, OUT lanes int[], OUT seqs bigint[]
)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_behind bigint;
BEGIN
    server_since := pg_postmaster_start_time();
    SELECT n.last_value INTO last_seq FROM orbit.ready_numbers n;

    SELECT max(announced.behind) INTO v_behind
      FROM (
           SELECT (last_seq / 4096 - k.objid::bigint) & 2147483647 AS behind
             FROM pg_locks k
            WHERE k.locktype = 'advisory' AND k.classid = 7002 AND k.objsubid = 2 AND k.mode = 'ShareLock' AND k.granted
              AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
           ) AS announced
     WHERE announced.behind < 1073741824;
    safe_seq := CASE WHEN v_behind IS NULL THEN last_seq ELSE least(last_seq, (last_seq / 4096 - v_behind) * 4096) END;

    SELECT array_agg(asked.lane), array_agg(first.seq)
      INTO lanes, seqs
      FROM unnest(p_lanes, p_bounds) AS asked(lane, bound)
     CROSS JOIN LATERAL (
           SELECT l.seq
             FROM orbit.live l
            WHERE l.lane = asked.lane AND l.seq >= asked.bound AND l.state = 0
              AND NOT EXISTS (SELECT FROM orbit.returned r WHERE r.lane = l.lane AND r.seq = l.seq)
            ORDER BY l.lane, l.seq
            LIMIT 1
           ) AS first;
END
$$;
