-- Let a table made by build_partition be a partition: called by make_partition and prune_partition.
-- Unless the day was excluded from the DEFAULT partition (see exclude_day), that is read for rows which would belong here; it raises
-- check_violation when there are any.
-- Locks: the history table, SHARE UPDATE EXCLUSIVE, for which nobody waits who reads or writes; its DEFAULT partition and the
-- new one, ACCESS EXCLUSIVE.
CREATE OR REPLACE FUNCTION orbit.attach_partition(p_table text, p_name text, p_day int) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format(
        'ALTER TABLE orbit.%I ATTACH PARTITION orbit.%I FOR VALUES FROM (%s) TO (%s)',
        p_table, p_name, p_day::bigint << 39, (p_day + 1)::bigint << 39
    );
    EXECUTE format('ALTER TABLE orbit.%I DROP CONSTRAINT one_day', p_name);
    PERFORM orbit.include_day(p_table, p_day);
END
$$;
