-- The first run of each lane among those that were taken back and wait again in their old place: called by beat. What has gone
-- from there meanwhile is forgotten; nobody needs it, because whoever takes a run back again notes it again.
-- Locks: returned, SKIP LOCKED.
CREATE OR REPLACE FUNCTION orbit.first_returned() RETURNS TABLE (lane int, seq bigint)
LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
    RETURN QUERY
    WITH noted AS MATERIALIZED (
        SELECT r.ctid AS place, r.lane, r.seq,
               EXISTS (SELECT FROM orbit.live l WHERE l.lane = r.lane AND l.seq = r.seq AND l.state = 0) AS is_pending
          FROM orbit.returned r
    ), forgotten AS (
        DELETE FROM orbit.returned r
         WHERE r.ctid = ANY (ARRAY(
                   SELECT old.ctid
                     FROM orbit.returned old
                    WHERE old.ctid = ANY (ARRAY(SELECT noted.place FROM noted WHERE NOT noted.is_pending))
                      FOR UPDATE SKIP LOCKED
               ))
    )
    SELECT noted.lane, min(noted.seq) FROM noted WHERE noted.is_pending GROUP BY noted.lane;
END
$$;
