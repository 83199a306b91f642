-- Drop one day's partition of a history table, and keep what is still needed of it: a duty of the fleet. Returns how many rows were
-- kept; null: it is not dropped. It is done for `runs` first, because its rows then decide about the others of that day.
--     none needed   the partition is dropped; so are log lines, whoever may still want them
--     a few         they move to the DEFAULT partition, and the partition is dropped
--     more          a partition with only them takes its place, named `..._kept`; once they are few, it is dropped like the others
-- So whoever reads or writes a kept run finds it where it was. The copying holds up only those who write to that day's rows.
-- Raises lock_not_available, with nothing changed, when the last step cannot be done soon: a DROP that waits behind pg_dump would
-- block every claim.
-- Locks: that of migrate; the partition, EXCLUSIVE; then the history table, its DEFAULT partition and the partition, ACCESS EXCLUSIVE.
CREATE OR REPLACE FUNCTION orbit.prune_partition(p_table text, p_name text, p_day int, p_ended_after timestamptz) RETURNS bigint
LANGUAGE plpgsql
SET lock_timeout = '50ms' SET jit = off
AS $$
DECLARE
    v_new  text := orbit.partition_name(p_table, p_day) || '_kept';
    v_rows bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7001);
    IF NOT orbit.has_table(p_name) THEN
        RETURN NULL;
    ELSIF p_table IN ('outcomes', 'steps') AND orbit.has_table(orbit.partition_name('runs', p_day)) THEN
        RETURN NULL;
    END IF;
    IF p_name = v_new THEN
        IF orbit.has_many(p_name) THEN
            RETURN NULL;
        END IF;
        v_new := v_new || '_again';
    END IF;

    BEGIN  -- try the last step's locks, and let go: who reads for hours must not have us copy in vain each time
        EXECUTE format('LOCK TABLE ONLY orbit.%I, ONLY orbit.%I IN ACCESS EXCLUSIVE MODE', p_table, p_table || '_default');
        RAISE SQLSTATE 'OR009';
    EXCEPTION WHEN SQLSTATE 'OR009' THEN
        NULL;
    END;

    IF p_table <> 'run_logs' THEN
        EXECUTE format('LOCK TABLE orbit.%I IN EXCLUSIVE MODE', p_name);
        PERFORM orbit.build_partition(p_table, v_new, p_day);
        EXECUTE format(
            'INSERT INTO orbit.%I SELECT old.* FROM orbit.%I old WHERE '
            || CASE p_table
                   WHEN 'runs' THEN 'old.id IN (SELECT orbit.needed_runs($1, $2, $3))'
                   ELSE 'old.run_id IN (SELECT r.id FROM orbit.runs r WHERE r.id >= $1 AND r.id < $2)'
               END, v_new, p_name
        ) USING p_day::bigint << 39, (p_day + 1)::bigint << 39, p_ended_after;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
    END IF;

    EXECUTE format('ALTER TABLE orbit.%I DETACH PARTITION orbit.%I', p_table, p_name);
    EXECUTE format('DROP TABLE orbit.%I', p_name);
    IF p_table <> 'run_logs' AND orbit.has_many(v_new) THEN
        PERFORM orbit.attach_partition(p_table, v_new, p_day);
        RETURN v_rows;
    END IF;
    PERFORM orbit.include_day(p_table, p_day);
    IF p_table <> 'run_logs' THEN
        EXECUTE format('INSERT INTO orbit.%I SELECT * FROM orbit.%I', p_table, v_new);
        EXECUTE format('DROP TABLE orbit.%I', v_new);
    END IF;
    RETURN v_rows;
END
$$;
