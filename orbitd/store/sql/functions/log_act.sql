-- Leave a line in a run's log about what a person did to it: called by the acts after which the run goes on. Such lines do not
-- count against the limit of the log. A line that a child which has just lost the run was still writing is waited for.
CREATE OR REPLACE FUNCTION orbit.log_act(p_run bigint, p_attempt smallint, p_act text, p_by text, p_reason text) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    v_last orbit.run_logs;
BEGIN
    FOR v_try IN 1 .. 10 LOOP
        SELECT g.* INTO v_last FROM orbit.run_logs g WHERE g.run_id = p_run ORDER BY g.line DESC LIMIT 1;
        INSERT INTO orbit.run_logs (run_id, line, at, attempt, level, message, total_bytes)
        VALUES (
            p_run, coalesce(v_last.line, 0) + 1, clock_timestamp(), p_attempt, 'info',
            format('%s by %s', p_act, p_by) || coalesce(': ' || p_reason, ''), coalesce(v_last.total_bytes, 0)
        ) ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
    END LOOP;
END
$$;
