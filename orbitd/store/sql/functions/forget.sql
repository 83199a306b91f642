-- Clear what only a run that has not ended has: its key (unless that was given for a period which is not over), its new place,
-- its cancel request. Called when a run ends. The flags say which of the first two exist, so that most runs pay for neither.
CREATE OR REPLACE FUNCTION orbit.forget(p_run bigint, p_flags smallint, p_outcome text) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
    IF p_flags & 1 = 1 THEN
        DELETE FROM orbit.keys k
         USING orbit.runs r
         WHERE r.id = p_run AND k.pipeline = r.pipeline AND k.key = r.key AND k.run_id = p_run
           AND coalesce(k.kept_until <= clock_timestamp(), true);
        IF NOT FOUND THEN
            UPDATE orbit.keys k
               SET outcome = p_outcome
              FROM orbit.runs r
             WHERE r.id = p_run AND k.pipeline = r.pipeline AND k.key = r.key AND k.run_id = p_run;
        END IF;
    END IF;
    IF p_flags & 2 = 2 THEN
        DELETE FROM orbit.requeued q WHERE q.run_id = p_run;
    END IF;
    DELETE FROM orbit.cancel_requests c WHERE c.run_id = p_run;
END
$$;
