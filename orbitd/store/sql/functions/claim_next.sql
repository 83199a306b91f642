-- Take the first pending run of the first lane that has one: the common part of `claim` and `finish_and_claim`. Each lane is
-- searched from its floor (p_floors, beside p_lanes): a bound that spares us the index entries of runs long gone.
-- o_last_seq: the highest number given out before the search began.
-- Picks first and asks for permission only then, so that an empty poll writes nothing. Never raises: o_lease_ok = false
-- says that there was work which this child may not take.
-- The pick is a statement of its own: a LIMIT inside a join may be executed again, and take more than it should.
-- Locks: live, SKIP LOCKED; then children, KEY SHARE; never waits.
CREATE OR REPLACE FUNCTION orbit.claim_next(
    p_child int, p_token bigint, p_lanes int[], p_floors bigint[],
    OUT o_lease_ok boolean, OUT o_last_seq bigint, OUT o_lane int, OUT o_seq bigint, OUT o_run_id bigint,
    OUT o_attempt smallint, OUT o_errors smallint, OUT o_crashes smallint, OUT o_pipeline text, OUT o_tenant text, OUT o_args text
)
LANGUAGE plpgsql
-- Under churn the planner's statistics of `live` are always wrong; there is only one good plan.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_lane  int;
    v_floor bigint;
    v_seq   bigint;
BEGIN
    o_lease_ok := true;
    SELECT n.last_value INTO o_last_seq FROM orbit.ready_numbers n;
    FOR v_lane, v_floor IN SELECT * FROM unnest(p_lanes, p_floors) LOOP
        SELECT l.seq INTO v_seq
          FROM orbit.live l
         WHERE l.lane = v_lane AND l.seq >= v_floor AND l.state = 0
         ORDER BY l.lane, l.seq
         LIMIT 1
           FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;

        o_lease_ok := orbit.may_claim(p_child);
        IF NOT o_lease_ok THEN
            RETURN;
        END IF;
        UPDATE orbit.live l
           SET state = 1, token = p_token, child = p_child, claimed_at = clock_timestamp(),
               attempt = least(l.attempt + 1, 32767)  -- a run that snoozes for years must not stop its lane
         WHERE l.lane = v_lane AND l.seq = v_seq
        RETURNING l.lane, l.seq, l.run_id, l.attempt, l.errors, l.crashes
             INTO o_lane, o_seq, o_run_id, o_attempt, o_errors, o_crashes;
        SELECT r.pipeline, r.tenant, r.args::text INTO o_pipeline, o_tenant, o_args
          FROM orbit.runs r
         WHERE r.id = o_run_id;
        RETURN;
    END LOOP;
END
$$;
