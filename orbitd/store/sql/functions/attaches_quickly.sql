-- Whether a partition of a day can be attached at once: little is in the DEFAULT partition, or it is certain that no row of that day is
-- there (see exclude_day). Called by exclude_day and make_partition.
CREATE OR REPLACE FUNCTION orbit.attaches_quickly(p_table text, p_day int) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
    c_little  constant bigint := 4 * 1024 * 1024;  -- some ten milliseconds
    v_default regclass := format('orbit.%I', p_table || '_default')::regclass;
BEGIN
    RETURN pg_relation_size(v_default) <= c_little OR EXISTS (
        SELECT FROM pg_constraint c
         WHERE c.conrelid = v_default AND c.conname = orbit.partition_name(p_table, p_day) AND c.convalidated
    );
END
$$;
