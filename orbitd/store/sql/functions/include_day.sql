-- The opposite of exclude_day: rows of a day may be in the DEFAULT partition of a history table. Called by attach_partition, which has
-- made them go elsewhere, by prune_partition, and by whoever does not come to that after all. Raises lock_not_available.
-- Locks: that of migrate; the DEFAULT partition, ACCESS EXCLUSIVE, if need be.
CREATE OR REPLACE FUNCTION orbit.include_day(p_table text, p_day int) RETURNS void
LANGUAGE plpgsql
SET lock_timeout = '50ms'
AS $$
BEGIN
    IF orbit.is_excluded(p_table, p_day) THEN
        PERFORM pg_advisory_xact_lock(7001);
        EXECUTE format('ALTER TABLE orbit.%I DROP CONSTRAINT IF EXISTS %I', p_table || '_default', orbit.partition_name(p_table, p_day));
    END IF;
END
$$;
