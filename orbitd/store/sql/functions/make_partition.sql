-- Make one day's partition of a history table, days ahead: by `migrate`, and as a duty of the fleet. False: it is there already; or
-- the DEFAULT partition has rows of that day, or may be given one just now: then that day is left to it.
-- It is made aside and then attached, so that it holds up nobody who reads or writes another day. Raises lock_not_available
-- rather than make everybody queue behind whoever holds the DEFAULT partition (pg_dump, a producer's open transaction).
-- Locks: that of migrate; then as attach_partition.
CREATE OR REPLACE FUNCTION orbit.make_partition(p_table text, p_day int) RETURNS boolean
LANGUAGE plpgsql
SET lock_timeout = '50ms'
AS $$
DECLARE
    v_name text := orbit.partition_name(p_table, p_day);
BEGIN
    PERFORM pg_advisory_xact_lock(7001);
    IF orbit.has_table(v_name) OR NOT orbit.attaches_quickly(p_table, p_day) THEN
        RETURN false;
    END IF;
    PERFORM orbit.build_partition(p_table, v_name, p_day);
    PERFORM orbit.attach_partition(p_table, v_name, p_day);
    RETURN true;
EXCEPTION WHEN check_violation THEN
    RETURN false;
END
$$;
