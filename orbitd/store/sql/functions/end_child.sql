-- End one child, if it has not been ended: called by start_child, interrupt and end_missing_children. From its return on, no
-- claim of that child can commit: one in flight has committed already, and is seen by the next statement, or will find the
-- child ended.
-- False: there is no such child.
-- Locks: children, FOR UPDATE; waits for a claim or a finish_and_claim in flight.
CREATE OR REPLACE FUNCTION orbit.end_child(p_child int, p_cause text) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
BEGIN
    PERFORM FROM orbit.children c WHERE c.id = p_child FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE orbit.children c
       SET ended_at = clock_timestamp(), ended_cause = p_cause
     WHERE c.id = p_child AND c.ended_at IS NULL;
    RETURN true;
END
$$;
