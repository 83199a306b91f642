-- Take the first pending runs of the first lane that has any. Each lane is searched from its floor (p_floors, beside p_lanes): a
-- bound that spares us the index entries of runs long gone. p_wants, beside them too, says how many runs the claim may bring at
-- most if they are of that lane. p_token, which the child has just drawn and already written to its claims page, covers all of them.
-- Returns a row for each run taken, in order, or a row without one. last_seq: the highest number given out before the search began.
-- lease_ok = false: there was work, but the child or its host has been ended, or the lease has lapsed. That is no error, so that
-- finish_and_claim need not undo the reports.
-- A run whose row in `runs` is gone, which nothing but damage does, comes without args: its child fails it, and the lane goes on.
-- Picks first and asks for permission only then, so that an empty poll writes nothing. The pick is a statement of its own: a LIMIT
-- inside a join may be executed again, and take more than it should; and what changed just before it was locked, only the next
-- statement sees.
-- The lock timeout: as finish.
-- Locks: live in order, SKIP LOCKED; then children, KEY SHARE; never waits.
CREATE OR REPLACE FUNCTION orbit.claim(p_child int, p_token bigint, p_lanes int[], p_floors bigint[], p_wants int[])
RETURNS TABLE (
    last_seq bigint, lease_ok boolean,
    lane int, seq bigint, run_id bigint, token bigint, pipeline text, tenant text, args text,
    attempt smallint, errors smallint, crashes smallint
)
LANGUAGE plpgsql
-- Under churn the planner's statistics of `live` are always wrong; there is only one good plan.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan SET lock_timeout = '2s'
AS $$
DECLARE
    v_picked tid[];
BEGIN
    SELECT n.last_value INTO last_seq FROM orbit.ready_numbers n;
    lease_ok := true;
    FOR i IN 1 .. cardinality(p_lanes) LOOP
        v_picked := ARRAY(
            SELECT l.ctid
              FROM orbit.live l
             WHERE l.lane = p_lanes[i] AND l.seq >= p_floors[i] AND l.state = 0
             ORDER BY l.lane, l.seq
             LIMIT p_wants[i]
               FOR NO KEY UPDATE SKIP LOCKED
        );
        CONTINUE WHEN v_picked = '{}';

        lease_ok := orbit.may_claim(p_child);
        EXIT WHEN NOT lease_ok;
        RETURN QUERY
          WITH taken AS (
              UPDATE orbit.live l
                 SET state = 1, token = p_token, child = p_child, claimed_at = clock_timestamp(),
                     attempt = least(l.attempt + 1, 32767)  -- a run that snoozes for years must not stop its lane
               WHERE l.ctid = ANY (v_picked)
              RETURNING l.lane, l.seq, l.run_id, l.attempt, l.errors, l.crashes
          )
          SELECT claim.last_seq, true, t.lane, t.seq, t.run_id, p_token,
                 coalesce(r.pipeline, (SELECT lanes.pipeline FROM orbit.lanes WHERE lanes.id = t.lane)), r.tenant, r.args::text,
                 t.attempt, t.errors, t.crashes
            FROM taken t
            LEFT JOIN orbit.runs r ON r.id = t.run_id
           ORDER BY t.seq;
        RETURN;
    END LOOP;
    RETURN NEXT;
END
$$;
