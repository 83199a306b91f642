-- End hosts whose lease has lapsed, a few at a time: called when a beat has seen one. Returns how many.
-- Their silence may be the database's fault. So the one who judges must itself have been steady for the length of a lease,
-- and the server must have been up that long: after an outage the first one to come back does not rob the rest.
-- A host that cannot be ended now (the session of one of its children still holds a lock) does not stop the others, nor us for
-- longer than our lease: it is left for the next time.
-- Locks: hosts, SKIP LOCKED; then as end_host.
CREATE OR REPLACE FUNCTION orbit.rescue(p_host int) RETURNS int
LANGUAGE plpgsql
SET lock_timeout = '200ms'
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
         ORDER BY random()  -- not the same ones first, if those cannot be ended
         LIMIT 10
           FOR UPDATE SKIP LOCKED
    LOOP
        BEGIN
            v_ended := v_ended + orbit.end_host(v_lost, 'host_lost')::int;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'host % cannot be ended: %', v_lost, SQLERRM;
        END;
    END LOOP;
    RETURN v_ended;
END
$$;
