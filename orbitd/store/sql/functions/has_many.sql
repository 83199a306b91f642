-- Whether a table has so many rows that they get a partition of their own rather than move to the DEFAULT one, see prune_partition.
CREATE OR REPLACE FUNCTION orbit.has_many(p_name text) RETURNS boolean
LANGUAGE plpgsql
SET lock_timeout = '50ms'
AS $$
DECLARE
    c_few  constant int := 200;
    v_rows int;
BEGIN
    EXECUTE format('SELECT count(*) FROM (SELECT FROM orbit.%I LIMIT %s) AS found', p_name, c_few + 1) INTO v_rows;
    RETURN v_rows > c_few;
END
$$;
