-- Let runs go on that were interrupted p_older_than_seconds ago or earlier and are held, the longest held first, p_limit at most:
-- called by recover until it finds no full batch. Returns their ids. What somebody else resumes or cancels is left to them.
-- Locks: interrupted, SKIP LOCKED; then as requeue; run_logs.
CREATE OR REPLACE FUNCTION orbit.resume_held(p_older_than_seconds float8, p_by text, p_limit int) RETURNS SETOF bigint
LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_run  record;
    v_runs orbit.delayed[];
BEGIN
    FOR v_run IN
        SELECT i.*
          FROM orbit.interrupted i
         WHERE i.at <= clock_timestamp() - make_interval(secs => p_older_than_seconds)
         ORDER BY i.at, i.run_id
         LIMIT p_limit
           FOR UPDATE SKIP LOCKED
    LOOP
        DELETE FROM orbit.interrupted i WHERE i.run_id = v_run.run_id;
        v_runs := v_runs || ROW(
            v_run.run_id, NULL, v_run.lane, v_run.attempt, v_run.errors, v_run.crashes, v_run.flags
        )::orbit.delayed;
        PERFORM orbit.log_act(v_run.run_id, v_run.attempt, 'resumed', p_by, NULL);
        RETURN NEXT v_run.run_id;
    END LOOP;
    IF v_runs IS NOT NULL THEN
        PERFORM orbit.requeue(v_runs);
    END IF;
END
$$;
