-- What the partition of a history table for a day is called; the day as in the ids of its runs, in days since 2020-01-01.
CREATE OR REPLACE FUNCTION orbit.partition_name(p_table text, p_day int) RETURNS text
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    RETURN format('%s_%s', p_table, to_char(date '2020-01-01' + p_day, 'YYYYMMDD'));
END
$$;
