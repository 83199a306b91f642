-- Tell all janitors, also those that are awake, that a run waits again in its old place: they may search its lane from a higher
-- number by now. Deaths and interrupted runs are rare, so that this costs nobody anything.
CREATE OR REPLACE FUNCTION orbit.ring_all(p_lane int, p_seq bigint) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM pg_notify('orbit_work', format('%s %s 1 0', p_lane, p_seq));
END
$$;
