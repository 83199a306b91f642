-- Clear what only a run that has not ended has: its key (unless that was given for a period which is not over), its new place,
-- its cancel request. Called when a run ends. The flags say which of the first two exist, so that most runs pay for neither.
-- Step by step: where vacuum has seen no keys, a join might begin with all that there are by now.
CREATE OR REPLACE FUNCTION orbit.forget(p_run bigint, p_flags smallint, p_outcome text) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_pipeline text;
    v_key      text;
BEGIN
    IF p_flags & 1 = 1 THEN
        SELECT r.pipeline, r.key INTO v_pipeline, v_key FROM orbit.runs r WHERE r.id = p_run;
        DELETE FROM orbit.keys k
         WHERE k.pipeline = v_pipeline AND k.key = v_key AND k.run_id = p_run AND coalesce(k.kept_until <= clock_timestamp(), true);
        IF NOT FOUND THEN
            UPDATE orbit.keys k SET outcome = p_outcome WHERE k.pipeline = v_pipeline AND k.key = v_key AND k.run_id = p_run;
        END IF;
    END IF;
    IF p_flags & 2 = 2 THEN
        DELETE FROM orbit.requeued q WHERE q.run_id = p_run;
    END IF;
    DELETE FROM orbit.cancel_requests c WHERE c.run_id = p_run;
END
$$;
