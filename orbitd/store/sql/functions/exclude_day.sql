-- One step on the way to a partition of a day that is attached without reading all of the DEFAULT partition while everybody is locked
-- out: rows of that day are forbidden there; then it is made certain that there are none, for which nobody has to wait. Called before
-- make_partition and prune_partition for as long as it returns true. It does nothing where little is there to be read, and for
-- a day without a partition that has begun or begins soon: whoever enqueues must not be refused because a janitor was killed here, or found
-- the lock held at the next step. What is left behind of later days the next turn goes on with, or takes back in time (see include_day).
-- Raises lock_not_available, as make_partition.
-- Locks: that of migrate; the DEFAULT partition, first ACCESS EXCLUSIVE for a moment, then SHARE UPDATE EXCLUSIVE.
CREATE OR REPLACE FUNCTION orbit.exclude_day(p_table text, p_day int) RETURNS boolean
LANGUAGE plpgsql
SET lock_timeout = '50ms'
AS $$
DECLARE
    v_key  text := CASE p_table WHEN 'runs' THEN 'id' ELSE 'run_id' END;
    v_name text := orbit.partition_name(p_table, p_day);
BEGIN
    PERFORM pg_advisory_xact_lock(7001);
    IF NOT orbit.may_exclude(p_table, p_day) OR orbit.attaches_quickly(p_table, p_day) THEN
        RETURN false;
    ELSIF orbit.is_excluded(p_table, p_day) THEN
        BEGIN
            EXECUTE format('ALTER TABLE orbit.%I VALIDATE CONSTRAINT %I', p_table || '_default', v_name);
        EXCEPTION WHEN check_violation THEN  -- there are: the clock was wrong
            PERFORM orbit.include_day(p_table, p_day);
        END;
        RETURN false;
    END IF;
    EXECUTE format(
        'ALTER TABLE orbit.%I ADD CONSTRAINT %I CHECK (%I < %s OR %I >= %s) NOT VALID',
        p_table || '_default', v_name, v_key, p_day::bigint << 39, v_key, (p_day + 1)::bigint << 39
    );
    RETURN true;
END
$$;
