-- Make the daily partitions of the history tables, from today to p_days ahead: by `migrate` and once a day by a janitor.
-- A day that already has rows in a DEFAULT partition is left to it. Attaching one locks out the writers of the DEFAULT
-- partition for an instant; when it cannot get that lock soon it raises, rather than make everybody queue behind it.
-- Returns how many it made.
CREATE OR REPLACE FUNCTION orbit.make_partitions(p_days int) RETURNS int
LANGUAGE plpgsql
SET lock_timeout = '500ms'
AS $$
DECLARE
    v_table   text;
    v_key     text;
    v_name    text;
    v_today   bigint := floor(extract(epoch FROM clock_timestamp()) / 86400)::bigint - 18262;
    v_day     bigint;
    v_strays  boolean;
    v_made    int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7001);  -- the lock of migrate: one at a time
    FOR v_day IN SELECT generate_series(v_today, v_today + p_days) LOOP
        FOREACH v_table IN ARRAY ARRAY['runs', 'outcomes', 'steps', 'run_logs'] LOOP
            v_key := CASE v_table WHEN 'runs' THEN 'id' ELSE 'run_id' END;
            v_name := format('%s_%s', v_table, to_char(date '2020-01-01' + v_day::int, 'YYYYMMDD'));
            CONTINUE WHEN to_regclass(format('orbit.%I', v_name)) IS NOT NULL;
            EXECUTE format('SELECT EXISTS (SELECT FROM orbit.%I WHERE %I >= $1 AND %I < $2)', v_table || '_default', v_key, v_key)
               INTO v_strays
              USING v_day << 39, (v_day + 1) << 39;
            CONTINUE WHEN v_strays;
            EXECUTE format(
                'CREATE TABLE orbit.%I PARTITION OF orbit.%I FOR VALUES FROM (%s) TO (%s)',
                v_name, v_table, v_day << 39, (v_day + 1) << 39
            );
            v_made := v_made + 1;
        END LOOP;
    END LOOP;
    RETURN v_made;
END
$$;
