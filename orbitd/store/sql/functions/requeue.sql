-- Put runs that wait nowhere (their rows were just deleted by the caller) into `live` with a new seq, in the given order:
-- called by promote, sort_catch_all and resume. due_at is not looked at.
-- Locks: as announce_seq; requeued, by run.
CREATE OR REPLACE FUNCTION orbit.requeue(p_runs orbit.delayed[]) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    v_bell record;
BEGIN
    PERFORM orbit.announce_seq();
    FOR v_bell IN
        WITH ready AS (
            INSERT INTO orbit.live (run_id, lane, attempt, errors, crashes, flags)
            SELECT r.run_id, r.lane, r.attempt, r.errors, r.crashes, r.flags | 2
              FROM unnest(p_runs) WITH ORDINALITY AS r
             ORDER BY r.ordinality
            RETURNING live.run_id, live.lane, live.seq
        ), placed AS (
            INSERT INTO orbit.requeued (run_id, lane, seq)
            SELECT run_id, lane, seq FROM ready
                ON CONFLICT (run_id) DO UPDATE SET lane = excluded.lane, seq = excluded.seq
        )
        SELECT lane, min(seq) AS first_seq, count(*)::int AS ready
          FROM ready
         GROUP BY lane
    LOOP
        PERFORM orbit.ring(v_bell.lane, v_bell.first_seq, v_bell.ready);
    END LOOP;
END
$$;
