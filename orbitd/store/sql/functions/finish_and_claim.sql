-- Report the runs in hand and take the next ones: one statement, one commit, the busy child's whole traffic.
-- Returns as claim; besides, in each row, the runs whose report does not count, as finish: nothing to claim must not look like that.
-- Never raises for the claim's sake, which would undo the reports.
-- The lock timeout: as finish.
-- Locks: as finish, then as claim.
CREATE OR REPLACE FUNCTION orbit.finish_and_claim(
    p_lanes int[], p_seqs bigint[], p_runs bigint[], p_tokens bigint[], p_outcomes text[], p_seconds float8[], p_results jsonb[],
    p_delays float8[], p_causes text[], p_errors text[], p_tracebacks text[], p_stacks text[],
    p_child int, p_next_token bigint, p_next_lanes int[], p_floors bigint[], p_wants int[]
) RETURNS TABLE (
    last_seq bigint, lease_ok boolean, fenced bigint[],
    lane int, seq bigint, run_id bigint, token bigint, pipeline text, tenant text, args text,
    attempt smallint, errors smallint, crashes smallint
)
LANGUAGE plpgsql
AS $$
BEGIN
    fenced := orbit.finish(
        p_lanes, p_seqs, p_runs, p_tokens, p_outcomes, p_seconds, p_results, p_delays, p_causes, p_errors, p_tracebacks, p_stacks
    );
    RETURN QUERY
    SELECT n.last_seq, n.lease_ok, finish_and_claim.fenced,
           n.lane, n.seq, n.run_id, n.token, n.pipeline, n.tenant, n.args, n.attempt, n.errors, n.crashes
      FROM orbit.claim(p_child, p_next_token, p_next_lanes, p_floors, p_wants) AS n;
END
$$;
