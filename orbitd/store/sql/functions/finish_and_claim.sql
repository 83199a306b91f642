-- Report the run in hand and take the next one: one statement, one commit, the busy child's whole traffic.
-- Never raises for the claim's sake, which would undo the report; `lease_ok` says what claim would have raised.
-- `accepted` is apart from the claimed run: nothing to claim must not look like a fenced report.
-- The lock timeout: as finish.
-- Locks: as finish, then as claim_next.
CREATE OR REPLACE FUNCTION orbit.finish_and_claim(
    p_lane int, p_seq bigint, p_run bigint, p_token bigint, p_outcome text, p_delay_seconds float8, p_result jsonb,
    p_cause text, p_error text, p_traceback text, p_stack text,
    p_child int, p_next_token bigint, p_lanes int[], p_floors bigint[]
) RETURNS TABLE (
    last_seq bigint, accepted boolean, lease_ok boolean,
    lane int, seq bigint, run_id bigint, token bigint, pipeline text, tenant text, args text,
    attempt smallint, errors smallint, crashes smallint
)
LANGUAGE plpgsql
SET lock_timeout = '2s'
AS $$
BEGIN
    accepted := orbit.finish(
        p_lane, p_seq, p_run, p_token, p_outcome, p_delay_seconds, p_result, p_cause, p_error, p_traceback, p_stack
    );
    RETURN QUERY
    SELECT n.o_last_seq, accepted, n.o_lease_ok, n.o_lane, n.o_seq, n.o_run_id, p_next_token, n.o_pipeline, n.o_tenant, n.o_args,
           n.o_attempt, n.o_errors, n.o_crashes
      FROM orbit.claim_next(p_child, p_next_token, p_lanes, p_floors) AS n;
END
$$;
