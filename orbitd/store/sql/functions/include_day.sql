-- The opposite of exclude_day: rows of a day may be in the DEFAULT partition of a history table. Called by attach_partition, which has
-- made them go elsewhere, and by prune_partition.
-- Locks: the DEFAULT partition, ACCESS EXCLUSIVE, if need be.
CREATE OR REPLACE FUNCTION orbit.include_day(p_table text, p_day int) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF orbit.is_excluded(p_table, p_day) THEN
        EXECUTE format('ALTER TABLE orbit.%I DROP CONSTRAINT %I', p_table || '_default', orbit.partition_name(p_table, p_day));
    END IF;
END
$$;
