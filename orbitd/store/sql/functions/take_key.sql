-- Take a key for a run, or find the run that has it: used by insert_run, enqueue_many and exhume.
--     o_run = p_run                it is ours
--     o_run another, and o_state   that run has it: it has not ended, or the period for which it was given the key is not over; then
--                                  the state tells how it ended, even if retention has deleted it since
-- A key whose run has ended, and whose period is over, is taken over: nobody has to tidy up first.
-- Waits for nobody but a transaction that is about to take or give back the very same key. In a REPEATABLE READ transaction a key
-- that was taken after its snapshot is a serialization failure.
-- Locks: keys.
CREATE OR REPLACE FUNCTION orbit.take_key(
    p_pipeline text, p_key text, p_run bigint, p_kept_until timestamptz, OUT o_run bigint, OUT o_state text
)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    v_is_kept boolean;
BEGIN
    FOR v_try IN 1 .. 100 LOOP
        INSERT INTO orbit.keys (pipeline, key, run_id, kept_until) VALUES (p_pipeline, p_key, p_run, p_kept_until)
            ON CONFLICT DO NOTHING;
        IF FOUND THEN
            o_run := p_run;
            RETURN;
        END IF;

        SELECT k.run_id, k.outcome, k.kept_until > clock_timestamp() INTO o_run, o_state, v_is_kept
          FROM orbit.keys k
         WHERE k.pipeline = p_pipeline AND k.key = p_key;
        CONTINUE WHEN NOT FOUND;  -- it was given back between the two statements
        IF o_run = p_run THEN  -- a run that had ended, and kept its key
            UPDATE orbit.keys k SET outcome = NULL WHERE k.pipeline = p_pipeline AND k.key = p_key AND k.run_id = p_run;
            IF FOUND THEN
                RETURN;
            END IF;
            CONTINUE;
        END IF;
        IF o_state IS NULL THEN
            SELECT place.state INTO o_state FROM orbit.run_place(o_run) AS place;
            CONTINUE WHEN NOT FOUND OR o_state IN ('succeeded', 'failed', 'cancelled');  -- it ended between the two statements
            RETURN;
        ELSIF v_is_kept THEN
            RETURN;
        END IF;
        -- The outcome is looked at under the lock: the run may have been taken out of the dead letters meanwhile.
        DELETE FROM orbit.keys k WHERE k.pipeline = p_pipeline AND k.key = p_key AND k.run_id = o_run AND k.outcome IS NOT NULL;
    END LOOP;
    PERFORM orbit.moved_too_often(o_run);
END
$$;
