-- End a host and all its children: from its return on, nobody can claim for it; reconcile takes back its runs.
-- Called at a clean stop, by the next arbiter for the one before it, and by rescue. False: it had been ended before.
-- Locks: hosts, FOR UPDATE (against a child that is just starting); children in order (against claims in flight).
CREATE OR REPLACE FUNCTION orbit.end_host(p_host int, p_cause text) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM FROM orbit.hosts h WHERE h.id = p_host AND h.ended_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE orbit.hosts h SET ended_at = clock_timestamp(), ended_cause = p_cause WHERE h.id = p_host;
    PERFORM FROM orbit.children c WHERE c.host = p_host AND c.ended_at IS NULL ORDER BY c.id FOR UPDATE;
    UPDATE orbit.children c
       SET ended_at = clock_timestamp(), ended_cause = p_cause
     WHERE c.host = p_host AND c.ended_at IS NULL;
    RETURN true;
END
$$;
