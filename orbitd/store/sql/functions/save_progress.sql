-- Say how far a run has come, at most once a second; what is null stays as it was. False: the run is no longer the caller's.
-- The fence is read without a lock: progress hurts nobody, and must not wait for the transaction of a step.
CREATE OR REPLACE FUNCTION orbit.save_progress(
    p_lane int, p_seq bigint, p_run bigint, p_token bigint, p_fraction float8, p_note text
) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
    PERFORM FROM orbit.live l WHERE l.lane = p_lane AND l.seq = p_seq AND l.run_id = p_run AND l.token = p_token AND l.state = 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO orbit.run_progress AS p (run_id, fraction, note)
    VALUES (p_run, CASE WHEN p_fraction < 0 THEN 0 WHEN p_fraction > 1 THEN 1 ELSE p_fraction END, p_note)
        ON CONFLICT (run_id) DO UPDATE
       SET fraction = coalesce(excluded.fraction, p.fraction), note = coalesce(excluded.note, p.note), at = clock_timestamp();
    RETURN true;
END
$$;
