-- Move a locked running row of `live` to where its outcome says: the common part of `finish` and `take_back`.
-- `p_live` carries the counters as they shall be from now on.
--     succeeded, failed, cancelled -> ended     retried, snoozed -> delayed     interrupted -> pending, where it stood
-- Pending again means the same (lane, seq), so that the run goes on at once and not behind a million others;
-- `returned` tells all hosts of it, whose claims search further on by now.
-- Locks: as announce_seq.
CREATE OR REPLACE FUNCTION orbit.move_run(
    p_live orbit.live, p_outcome text, p_cause text, p_error text, p_delay_seconds float8
) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
    IF p_outcome = 'interrupted' THEN
        UPDATE orbit.live l
           SET state = 0, token = NULL, child = NULL, claimed_at = NULL,
               attempt = p_live.attempt, errors = p_live.errors, crashes = p_live.crashes
         WHERE l.lane = p_live.lane AND l.seq = p_live.seq;
        INSERT INTO orbit.returned (lane, seq) VALUES (p_live.lane, p_live.seq);
        PERFORM orbit.ring_all(p_live.lane, p_live.seq);
        RETURN;
    END IF;

    DELETE FROM orbit.live l WHERE l.lane = p_live.lane AND l.seq = p_live.seq;
    IF p_outcome IN ('retried', 'snoozed') THEN
        INSERT INTO orbit.delayed (run_id, due_at, lane, attempt, errors, crashes, flags)
        VALUES (
            p_live.run_id, clock_timestamp() + make_interval(secs => least(greatest(p_delay_seconds, 0), 3e9)),
            p_live.lane, p_live.attempt, p_live.errors, p_live.crashes, p_live.flags
        );
        PERFORM orbit.announce_seq();
        PERFORM orbit.ring(p_live.lane, 0, 0);
        RETURN;
    END IF;

    IF p_outcome = 'failed' THEN
        PERFORM orbit.bury(p_live, p_cause, p_error);
    END IF;
    PERFORM orbit.forget(p_live.run_id, p_live.flags, p_outcome);
END
$$;
