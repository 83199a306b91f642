-- Append lines to a run's log, as long as it has no more than p_max_bytes; one last line says where it was cut.
-- Returns how many lines were kept, null when the run is no longer the caller's. The fence is read as in save_progress.
CREATE OR REPLACE FUNCTION orbit.append_logs(
    p_lane int, p_seq bigint, p_run bigint, p_token bigint, p_at timestamptz[], p_levels text[], p_messages text[], p_max_bytes int
) RETURNS int
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    v_attempt smallint;
    v_line    int;
    v_total   int;
    v_kept    int := 0;
BEGIN
    SELECT l.attempt INTO v_attempt
      FROM orbit.live l
     WHERE l.lane = p_lane AND l.seq = p_seq AND l.run_id = p_run AND l.token = p_token AND l.state = 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT g.line, g.total_bytes INTO v_line, v_total FROM orbit.run_logs g WHERE g.run_id = p_run ORDER BY g.line DESC LIMIT 1;
    v_line := coalesce(v_line, 0);
    v_total := coalesce(v_total, 0);

    FOR i IN 1 .. cardinality(p_messages) LOOP
        EXIT WHEN v_total > p_max_bytes;
        v_line := v_line + 1;
        v_total := v_total + octet_length(p_messages[i]);
        IF v_total > p_max_bytes THEN
            INSERT INTO orbit.run_logs VALUES (
                p_run, v_line, p_at[i], v_attempt, 'warning', format('the log is cut here: it has reached %s bytes', p_max_bytes), v_total
            ) ON CONFLICT DO NOTHING;
        ELSE
            INSERT INTO orbit.run_logs VALUES (p_run, v_line, p_at[i], v_attempt, p_levels[i], p_messages[i], v_total)
                ON CONFLICT DO NOTHING;
            v_kept := v_kept + 1;
        END IF;
    END LOOP;
    RETURN v_kept;
END
$$;
