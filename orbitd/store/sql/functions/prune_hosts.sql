-- Delete children that ended before a time, p_limit at most, and hosts that did and have none left. Returns how many.
-- A child that still has a run in its hands is kept, so that the run is taken back. Reads all of `live`, as lost_runs does.
-- Locks: children, hosts, SKIP LOCKED.
CREATE OR REPLACE FUNCTION orbit.prune_hosts(p_before timestamptz, p_limit int) RETURNS int
LANGUAGE plpgsql
SET jit = off
AS $$
DECLARE
    v_rows int;
    v_gone int;
BEGIN
    DELETE FROM orbit.children c
     WHERE c.id = ANY (ARRAY(
               SELECT old.id
                 FROM orbit.children old
                WHERE old.ended_at < p_before AND old.id NOT IN (SELECT l.child FROM orbit.live l WHERE l.state = 1)
                LIMIT p_limit
                  FOR UPDATE SKIP LOCKED
           ));
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    DELETE FROM orbit.hosts h
     WHERE h.id = ANY (ARRAY(
               SELECT old.id
                 FROM orbit.hosts old
                WHERE old.ended_at < p_before AND NOT EXISTS (SELECT FROM orbit.children c WHERE c.host = old.id)
                LIMIT p_limit
                  FOR UPDATE SKIP LOCKED
           ));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_gone + v_rows;
END
$$;
