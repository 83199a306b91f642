-- Make a table that can become the partition of a history table for a day: called by make_partition and prune_partition. It has
-- the storage settings of the DEFAULT partition, because a partition inherits none, and a check of its ids, so that attaching it
-- needs no look at its rows.
CREATE OR REPLACE FUNCTION orbit.build_partition(p_table text, p_name text, p_day int) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    v_key     text := CASE p_table WHEN 'runs' THEN 'id' ELSE 'run_id' END;
    v_storage text;
BEGIN
    SELECT array_to_string(c.reloptions, ', ') INTO v_storage
      FROM pg_class c
     WHERE c.oid = format('orbit.%I', p_table || '_default')::regclass;
    EXECUTE format(
        'CREATE TABLE orbit.%I (LIKE orbit.%I INCLUDING ALL, CONSTRAINT one_day CHECK (%I >= %s AND %I < %s)) WITH (%s)',
        p_name, p_table, v_key, p_day::bigint << 39, v_key, (p_day + 1)::bigint << 39, v_storage
    );
END
$$;
