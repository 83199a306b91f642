-- Take back running runs whose child has been ended: they are in nobody's hands. Called after end_host and rescue until it
-- finds no full batch, and now and then as the sweep that heals what every quicker way missed. Returns how many it took.
-- Reads all of `live`, which has no index by child: some 60 ms for a million rows.
-- A row that somebody has locked (the last transaction of a step) is left for the next time, and a row that cannot be
-- moved does not stop the others.
-- Locks: live in order, SKIP LOCKED; then as take_back.
CREATE OR REPLACE FUNCTION orbit.reconcile(p_hold boolean, p_limit int) RETURNS int
LANGUAGE plpgsql
SET jit = off
AS $$
DECLARE
    v_run   record;
    v_taken int := 0;
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
         ORDER BY l.lane, l.seq
         LIMIT p_limit
           FOR UPDATE OF l SKIP LOCKED
    LOOP
        BEGIN
            PERFORM orbit.take_back(
                v_run.lane, v_run.seq, v_run.run_id, v_run.token, true, v_run.charge, v_run.cause, v_run.error, NULL, p_hold
            );
            v_taken := v_taken + 1;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'run % cannot be taken back: %', v_run.run_id, SQLERRM;
        END;
    END LOOP;
    RETURN v_taken;
END
$$;
