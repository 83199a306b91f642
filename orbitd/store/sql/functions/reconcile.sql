-- Take back running runs whose child has been ended: they are in nobody's hands. Called after end_host and rescue until it
-- finds no full batch, and now and then as the sweep that heals what every quicker way missed. Returns each run that it took,
-- and where it is now. Spares those whose child ended, or whose host fell silent, less than p_older_than_seconds ago.
-- Reads all of `live`, which has no index by child: some 60 ms for a million rows.
-- A row that somebody has locked (the last transaction of a step) is left for the next time, and a row that cannot be
-- moved does not stop the others.
-- Locks: live in order, SKIP LOCKED; then as take_back.
CREATE OR REPLACE FUNCTION orbit.reconcile(p_hold boolean, p_older_than_seconds float8, p_limit int)
RETURNS TABLE (run_id bigint, state text)
LANGUAGE plpgsql
SET jit = off
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
         WHERE l.state = 1 AND c.ended_at IS NOT NULL
           AND least(c.ended_at, h.lease_until) <= clock_timestamp() - make_interval(secs => p_older_than_seconds)
         ORDER BY l.lane, l.seq
         LIMIT p_limit
           FOR UPDATE OF l SKIP LOCKED
    LOOP
        BEGIN
            run_id := v_run.run_id;
            state := orbit.take_back(
                v_run.lane, v_run.seq, v_run.run_id, v_run.token, true, v_run.charge, v_run.cause, v_run.error, NULL, p_hold
            );
            RETURN NEXT;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'run % cannot be taken back: %', v_run.run_id, SQLERRM;
        END;
    END LOOP;
END
$$;
