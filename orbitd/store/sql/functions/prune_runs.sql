-- Delete runs that are kept row by row, in a DEFAULT partition or one with kept rows only, and are needed no longer: p_limit at
-- most, the oldest of each partition first. Returns how many.
-- Locks: as delete_runs.
CREATE OR REPLACE FUNCTION orbit.prune_runs(p_ended_before timestamptz, p_limit int) RETURNS int
LANGUAGE plpgsql
SET jit = off
AS $$
DECLARE
    v_before bigint := orbit.first_id(p_ended_before);
    v_name   text;
    v_runs   bigint[];
    v_gone   int := 0;
BEGIN
    FOR v_name IN
        SELECT c.relname
          FROM pg_inherits i
          JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'orbit.runs'::regclass AND c.relname ~ '_(default|kept)$'
         ORDER BY c.relname
    LOOP
        EXECUTE format(
            'SELECT array_agg(old.id)
               FROM (SELECT r.id
                       FROM orbit.%I r
                      WHERE r.id < $1 AND r.id NOT IN (SELECT orbit.needed_runs(0, $1, $2))
                      ORDER BY r.id
                      LIMIT $3) AS old', v_name
        ) INTO v_runs USING v_before, p_ended_before, p_limit - v_gone;
        CONTINUE WHEN v_runs IS NULL;
        PERFORM orbit.delete_runs(v_runs);
        v_gone := v_gone + cardinality(v_runs);
        EXIT WHEN v_gone >= p_limit;
    END LOOP;
    RETURN v_gone;
END
$$;
