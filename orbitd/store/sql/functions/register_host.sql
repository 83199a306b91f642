-- A janitor says that its host is here, at its start and after each restart of itself: the same boot id is the same host.
-- Raises OR001 when that host has been ended: then only a new boot id can be registered.
-- Locks: hosts.
CREATE OR REPLACE FUNCTION orbit.register_host(
    p_boot_id text, p_name text, p_pid int, p_version text, p_lease_seconds float8
) RETURNS int
LANGUAGE plpgsql
AS $$
DECLARE
    v_now   timestamptz := clock_timestamp();
    v_lease interval := make_interval(secs => p_lease_seconds);
    v_host  int;
BEGIN
    INSERT INTO orbit.hosts AS h (boot_id, name, pid, version, lease, lease_until, steady_since)
    VALUES (p_boot_id, p_name, p_pid, p_version, v_lease, v_now + v_lease, v_now)
        ON CONFLICT (boot_id) DO UPDATE
       SET name = excluded.name, pid = excluded.pid, version = excluded.version,
           lease = excluded.lease, lease_until = excluded.lease_until,
           steady_since = CASE WHEN h.lease_until < v_now THEN v_now ELSE h.steady_since END
     WHERE h.ended_at IS NULL
    RETURNING h.id INTO v_host;
    IF v_host IS NULL THEN
        RAISE SQLSTATE 'OR001' USING MESSAGE = format('host %s was ended', p_boot_id);
    END IF;
    RETURN v_host;
END
$$;
