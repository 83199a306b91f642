-- Whether rows of a day may be forbidden in the DEFAULT partition of a history table (see exclude_day): a partition takes them, or the day
-- begins more than two days from now. Until then there is time enough to make one, or to forbid them no longer.
CREATE OR REPLACE FUNCTION orbit.may_exclude(p_table text, p_day int) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
    c_days constant int := 2;
    v_name text := orbit.partition_name(p_table, p_day);
BEGIN
    RETURN p_day > (orbit.first_id(clock_timestamp()) >> 39) + c_days OR orbit.has_table(v_name) OR orbit.has_table(v_name || '_kept');
END
$$;
