-- The id of a new run: the day since 2020-01-01 (14 bits) above a number (39 bits). Ids grow with time, so that a range of
-- ids is a partition; they stay below 2^53 until 2064, so that JSON can carry them; the number alone is the short form.
CREATE OR REPLACE FUNCTION orbit.next_run_id() RETURNS bigint
LANGUAGE sql VOLATILE
AS $$
    SELECT ((floor(extract(epoch FROM clock_timestamp()) / 86400)::bigint - 18262) << 39)
         | (nextval('orbit.run_numbers') & ((1::bigint << 39) - 1))
$$;
