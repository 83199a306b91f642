-- The runs that a child may hold, by its claims page: those that it knows it holds, and those that the claim which it was
-- waiting for brought it without its knowledge (asked; none of them was begun). In the order in which to lock them.
-- Called by start_child and interrupt after the child was ended; then the answer is final. The lanes asked (none named: all,
-- they were too many for the page) are searched in full, because `live` has no index by token; that happens once in the life of a child.
CREATE OR REPLACE FUNCTION orbit.asked_and_held(
    p_lanes int[], p_seqs bigint[], p_runs bigint[], p_tokens bigint[], p_begun boolean[],
    p_asked_token bigint, p_asked_lanes int[]
) RETURNS TABLE (lane int, seq bigint, run_id bigint, token bigint, begun boolean, asked boolean)
LANGUAGE plpgsql
SET jit = off
AS $$
BEGIN
    RETURN QUERY
    SELECT held.lane, held.seq, held.run_id, held.token, held.begun, false
      FROM unnest(p_lanes, p_seqs, p_runs, p_tokens, p_begun) AS held(lane, seq, run_id, token, begun)
     UNION ALL
    SELECT l.lane, l.seq, l.run_id, l.token, false, true
      FROM orbit.live l
     WHERE p_asked_token IS NOT NULL
       AND (cardinality(p_asked_lanes) = 0 OR l.lane = ANY (p_asked_lanes))
       AND l.token = p_asked_token AND l.state = 1
       AND p_asked_token <> ALL (p_tokens)
     ORDER BY 1, 2;
END
$$;
