-- Whether rows of a day are forbidden in the DEFAULT partition of a history table, see exclude_day; those that were there before may
-- still be.
CREATE OR REPLACE FUNCTION orbit.is_excluded(p_table text, p_day int) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_constraint c
         WHERE c.conrelid = format('orbit.%I', p_table || '_default')::regclass AND c.conname = orbit.partition_name(p_table, p_day)
    );
END
$$;
