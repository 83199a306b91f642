-- Delete what is kept aside of runs that are kept no longer (their progress; a place or a cancel request that should have gone
-- when they ended), and log lines of a DEFAULT partition that are too old: p_limit rows of each at most. Returns how many.
CREATE OR REPLACE FUNCTION orbit.prune_leftovers(p_before timestamptz, p_logs_before timestamptz, p_limit int) RETURNS int
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    v_table text;
    v_rows  int;
    v_gone  int := 0;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['run_progress', 'requeued', 'cancel_requests'] LOOP
        EXECUTE format(
            'DELETE FROM orbit.%I
              WHERE run_id = ANY (ARRAY(
                        SELECT old.run_id
                          FROM orbit.%I old
                         WHERE old.run_id < $1 AND NOT EXISTS (SELECT FROM orbit.runs r WHERE r.id = old.run_id)
                         ORDER BY old.run_id
                         LIMIT $2))', v_table, v_table
        ) USING orbit.first_id(p_before), p_limit;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        v_gone := v_gone + v_rows;
    END LOOP;

    DELETE FROM orbit.run_logs_default g
     WHERE g.ctid = ANY (ARRAY(
               SELECT old.ctid
                 FROM orbit.run_logs_default old
                WHERE old.run_id < orbit.first_id(p_logs_before) AND old.at < p_logs_before
                ORDER BY old.run_id
                LIMIT p_limit
           ));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_gone + v_rows;
END
$$;
