-- Tell the janitors that listen, at commit: "<lane> <first seq> <how many>". How many = 0: nothing is ready yet, but
-- something may fall due earlier than they think. Polling is the truth; a bell that nobody hears loses nothing.
CREATE OR REPLACE FUNCTION orbit.ring(p_lane int, p_seq bigint, p_count int) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM pg_notify('orbit_work', format('%s %s %s', p_lane, p_seq, p_count));
END
$$;
