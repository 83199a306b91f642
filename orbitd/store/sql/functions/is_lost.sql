-- Whether what is at this place of `live` is in the hands of a child that has ended, or of a host that is silent.
CREATE OR REPLACE FUNCTION orbit.is_lost(p_lane int, p_seq bigint) RETURNS boolean
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
    RETURN EXISTS (
        SELECT
          FROM orbit.live l
          JOIN orbit.children c ON c.id = l.child
          JOIN orbit.hosts h ON h.id = c.host
         WHERE l.lane = p_lane AND l.seq = p_seq AND l.state = 1
           AND (c.ended_at IS NOT NULL OR h.lease_until < clock_timestamp())
    );
END
$$;
