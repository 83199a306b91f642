-- The short form of a run's id, which people type: its number, without the day.
CREATE OR REPLACE FUNCTION orbit.short_id(p_run bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN p_run & ((1::bigint << 39) - 1);
END
$$;
