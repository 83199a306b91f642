-- Take back runs of children that have been ended, a batch of what lost_runs has told: after end_host and rescue, and now and then as the
-- sweep that heals what every quicker way missed. Returns each run taken back, and where it is now.
-- Of what a lost host's child had in hand, the run that may have begun pays. Where runs are held, all are: the one in front may have
-- ended without having been told, and the next may be the one that was running.
-- A row that has another child by now is left to it; one that somebody has locked (the last transaction of a step) is left for the next
-- sweep; and one that cannot be moved does not stop the others. Each is a subtransaction: from 64 on they would slow down everybody's
-- snapshots.
-- Locks: live in order, SKIP LOCKED; then as take_back.
CREATE OR REPLACE FUNCTION orbit.reconcile(
    p_lanes int[], p_seqs bigint[], p_runs bigint[], p_tokens bigint[], p_children int[], p_begun boolean[], p_hold boolean
) RETURNS TABLE (run_id bigint, state text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_run record;
BEGIN
    FOR v_run IN
        SELECT t.lane, t.seq, t.run_id, t.token, t.child, t.begun OR p_hold AS begun,
               CASE c.ended_cause WHEN 'host_lost' THEN 'host_lost' ELSE 'interrupted' END AS cause,
               CASE WHEN c.ended_cause = 'host_lost' AND t.begun THEN 'crash' ELSE 'none' END AS charge,
               format('child %s in slot %s of host %s ended: %s', c.id, c.slot, h.name, c.ended_cause) AS error
          FROM unnest(p_lanes, p_seqs, p_runs, p_tokens, p_children, p_begun) AS t(lane, seq, run_id, token, child, begun)
          JOIN orbit.children c ON c.id = t.child
          JOIN orbit.hosts h ON h.id = c.host
         ORDER BY t.lane, t.seq
    LOOP
        PERFORM FROM orbit.live l WHERE l.lane = v_run.lane AND l.seq = v_run.seq AND l.child = v_run.child FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        run_id := v_run.run_id;
        BEGIN
            state := orbit.take_back(
                v_run.lane, v_run.seq, v_run.run_id, v_run.token, v_run.begun, v_run.charge, v_run.cause, v_run.error, NULL, p_hold
            );
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'run % cannot be taken back: %', v_run.run_id, SQLERRM;
            CONTINUE;
        END;
        IF state IS NOT NULL THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
