-- Say that this transaction may still write rows of `live` with numbers from here on: called before each nextval. Whoever wants
-- to know up to which number everything has been committed or given up reads the lowest of these locks, see sweep.
-- A lock's key is the number's block of 4096, cut to 31 bits.
-- Shared, so that no producer ever waits here; gone with the transaction, whatever becomes of it.
-- Locks: advisory (7002, ...), shared.
CREATE OR REPLACE FUNCTION orbit.announce_seq() RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7002, (n.last_value / 4096 % 2147483648)::int) FROM orbit.ready_numbers n;
END
$$;
