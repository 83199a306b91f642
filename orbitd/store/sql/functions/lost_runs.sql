-- The running runs whose child has been ended: they are in nobody's hands, and for reconcile to take back. Spares those whose child
-- ended, or whose host fell silent, less than p_older_than_seconds ago.
--     begun   user code may have been entered. A child works in order through what a claim has brought, so that of the runs which it
--             has not reported only the first can be running.
-- That is judged over all runs of a token before any of them is moved. And those not begun come first: so whoever looks while they
-- are being taken back, or again because somebody was cut short, sees the same ones as begun.
-- Reads all of `live` once, which has no index by child: some 200 ms for a million rows.
CREATE OR REPLACE FUNCTION orbit.lost_runs(p_older_than_seconds float8)
RETURNS TABLE (lane int, seq bigint, run_id bigint, token bigint, child int, begun boolean)
LANGUAGE plpgsql STABLE
SET jit = off
AS $$
BEGIN
    RETURN QUERY
    SELECT r.lane, r.seq, r.run_id, r.token, r.child, r.seq = r.first_seq
      FROM (
           SELECT l.lane, l.seq, l.run_id, l.token, l.child, min(l.seq) OVER (PARTITION BY l.lane, l.token) AS first_seq
             FROM orbit.live l
            WHERE l.state = 1
           ) AS r
      JOIN orbit.children c ON c.id = r.child
      JOIN orbit.hosts h ON h.id = c.host
     WHERE c.ended_at IS NOT NULL
       AND least(c.ended_at, h.lease_until) <= clock_timestamp() - make_interval(secs => p_older_than_seconds)
     ORDER BY 6, 1, 2;
END
$$;
