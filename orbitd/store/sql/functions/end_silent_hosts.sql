-- End the hosts whose lease lapsed p_older_than_seconds ago or earlier: called by recover, when a person says so. Returns how many.
-- A person may know more than another host does, so that no steady host is asked for, as rescue does. But a server that came up
-- less than a lease ago has not given anybody the time to speak; and a beat in flight saves its host.
-- Locks: hosts, SKIP LOCKED; then as end_host.
CREATE OR REPLACE FUNCTION orbit.end_silent_hosts(p_older_than_seconds float8) RETURNS int
LANGUAGE plpgsql
AS $$
DECLARE
    v_now   timestamptz := clock_timestamp();
    v_lost  int;
    v_ended int := 0;
BEGIN
    FOR v_lost IN
        SELECT h.id
          FROM orbit.hosts h
         WHERE h.ended_at IS NULL AND h.lease_until < v_now - make_interval(secs => p_older_than_seconds)
           AND pg_postmaster_start_time() + h.lease < v_now
         ORDER BY h.id
           FOR UPDATE SKIP LOCKED
    LOOP
        v_ended := v_ended + orbit.end_host(v_lost, 'host_lost')::int;
    END LOOP;
    RETURN v_ended;
END
$$;
