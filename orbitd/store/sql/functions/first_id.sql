-- The least id that a run made on the same day (UTC) may have. Whatever is below belongs to a day before.
CREATE OR REPLACE FUNCTION orbit.first_id(p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    RETURN (floor(extract(epoch FROM p_at) / 86400)::bigint - 18262) << 39;
END
$$;
