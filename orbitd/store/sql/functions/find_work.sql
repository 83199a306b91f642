-- Where runs wait: of p_lanes, each searched from its floor (p_floors, beside it), those with pending runs; for each the number of
-- the first, and how many there are, up to p_most. Called by a janitor that is awake, and by doze.
--     last_seq           the highest number given out: how much traffic there is
--     next_due_seconds   until the next delayed run falls due; 0 or less: one is due already. What has been due for a minute is
--                        left to the next beat: those before it may be as many dead entries as the index has.
CREATE OR REPLACE FUNCTION orbit.find_work(
    p_lanes int[], p_floors bigint[], p_most int,
    OUT last_seq bigint, OUT lanes int[], OUT seqs bigint[], OUT counts int[], OUT next_due_seconds float8
)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    SELECT n.last_value INTO last_seq FROM orbit.ready_numbers n;
    SELECT coalesce(array_agg(asked.lane), '{}'), coalesce(array_agg(work.first_seq), '{}'), coalesce(array_agg(work.waiting), '{}')
      INTO lanes, seqs, counts
      FROM unnest(p_lanes, p_floors) AS asked(lane, floor)
     CROSS JOIN LATERAL (
           SELECT min(head.seq) AS first_seq, count(*)::int AS waiting
             FROM (
                  SELECT l.seq
                    FROM orbit.live l
                   WHERE l.lane = asked.lane AND l.seq >= asked.floor AND l.state = 0
                   ORDER BY l.lane, l.seq
                   LIMIT p_most
                  ) AS head
           ) AS work
     WHERE work.waiting > 0;
    SELECT extract(epoch FROM d.due_at - v_now) INTO next_due_seconds
      FROM orbit.delayed d
     WHERE d.due_at > v_now - interval '1 min'
     ORDER BY d.due_at
     LIMIT 1;
END
$$;
