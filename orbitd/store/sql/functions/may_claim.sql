-- Whether this child may take work now; if so its row stays locked until the claim commits. Called by claim.
-- KEY SHARE conflicts only with the FOR UPDATE of whoever ends the child: then the answer is no at once, because waiting
-- while holding a run's lock, which the other may want next, would be a deadlock.
-- Locks: children, KEY SHARE, never waits.
CREATE OR REPLACE FUNCTION orbit.may_claim(p_child int) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
    PERFORM FROM orbit.children c
       JOIN orbit.hosts h ON h.id = c.host
      WHERE c.id = p_child AND c.ended_at IS NULL
        AND h.ended_at IS NULL AND h.lease_until > clock_timestamp()
        FOR KEY SHARE OF c SKIP LOCKED;
    RETURN FOUND;
END
$$;
