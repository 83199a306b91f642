-- Take back running runs whose child has been ended: they are in nobody's hands. Called after end_host and rescue, and now and
-- then as the sweep that heals what every quicker way missed: batch by batch, each from where the last one ended (p_after_*, first
-- 0), until one is not full. Returns each run that it looked at, with its place, and where it is now; null: it cannot be moved.
-- Spares those whose child ended, or whose host fell silent, less than p_older_than_seconds ago.
-- Reads all of `live` once, which has no index by child: some 200 ms for a million rows.
-- A row that somebody has locked (the last transaction of a step) is left for the next sweep, and a row that cannot be moved
-- does not stop the others. Each is a subtransaction: from 64 on they would slow down everybody's snapshots.
-- Locks: live in order, SKIP LOCKED; then as take_back.
CREATE OR REPLACE FUNCTION orbit.reconcile(
    p_hold boolean, p_older_than_seconds float8, p_after_lane int, p_after_seq bigint, p_limit int
) RETURNS TABLE (run_id bigint, state text, lane int, seq bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_run record;
BEGIN
    FOR v_run IN
        SELECT l.lane, l.seq, l.run_id, l.token,
               CASE c.ended_cause WHEN 'host_lost' THEN 'host_lost' ELSE 'interrupted' END AS cause,
               CASE c.ended_cause WHEN 'host_lost' THEN 'crash' ELSE 'none' END AS charge,
               format('child %s in slot %s of host %s ended: %s', c.id, c.slot, h.name, c.ended_cause) AS error
          FROM orbit.live l
          JOIN orbit.children c ON c.id = l.child
          JOIN orbit.hosts h ON h.id = c.host
         WHERE (l.lane, l.seq) > (p_after_lane, p_after_seq)
           AND l.state = 1 AND c.ended_at IS NOT NULL
           AND least(c.ended_at, h.lease_until) <= clock_timestamp() - make_interval(secs => p_older_than_seconds)
         ORDER BY l.lane, l.seq
         LIMIT p_limit
           FOR UPDATE OF l SKIP LOCKED
    LOOP
        run_id := v_run.run_id;
        lane := v_run.lane;
        seq := v_run.seq;
        BEGIN
            state := orbit.take_back(
                v_run.lane, v_run.seq, v_run.run_id, v_run.token, true, v_run.charge, v_run.cause, v_run.error, NULL, p_hold
            );
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'run % cannot be taken back: %', v_run.run_id, SQLERRM;
            state := NULL;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;
