-- End the hosts whose lease has lapsed: called when a beat has seen one. Returns how many.
-- Their silence may be the database's fault. So the one who judges must itself have been steady for the length of a lease,
-- and the server must have been up that long: after an outage the first one to come back does not rob the rest.
-- Locks: hosts, SKIP LOCKED; then as end_host.
CREATE OR REPLACE FUNCTION orbit.rescue(p_host int) RETURNS int
LANGUAGE plpgsql
AS $$
DECLARE
    v_now   timestamptz := clock_timestamp();
    v_me    orbit.hosts;
    v_lost  int;
    v_ended int := 0;
BEGIN
    SELECT h.* INTO v_me FROM orbit.hosts h WHERE h.id = p_host AND h.ended_at IS NULL AND h.lease_until > v_now;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    FOR v_lost IN
        SELECT h.id
          FROM orbit.hosts h
         WHERE h.id <> p_host AND h.ended_at IS NULL AND h.lease_until < v_now
           AND greatest(v_me.steady_since, pg_postmaster_start_time()) + greatest(v_me.lease, h.lease) < v_now
         ORDER BY h.id
           FOR UPDATE SKIP LOCKED
    LOOP
        v_ended := v_ended + orbit.end_host(v_lost, 'host_lost')::int;
    END LOOP;
    RETURN v_ended;
END
$$;
