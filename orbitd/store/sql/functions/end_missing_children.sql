-- End the children of a host that its arbiter does not know: the backstop for a death that nobody saw. Returns how many.
-- p_living are the ids that the children themselves wrote to their claims pages, a moment after start_child gave them out:
-- hence the minute's grace. A child with a claim in flight is left for the next time.
-- Locks: children in order, SKIP LOCKED.
CREATE OR REPLACE FUNCTION orbit.end_missing_children(p_host int, p_living int[]) RETURNS int
LANGUAGE plpgsql
AS $$
DECLARE
    v_child int;
    v_ended int := 0;
BEGIN
    FOR v_child IN
        SELECT c.id
          FROM orbit.children c
         WHERE c.host = p_host AND c.ended_at IS NULL AND c.id <> ALL (p_living)
           AND c.started_at < clock_timestamp() - interval '60 s'
         ORDER BY c.id
           FOR UPDATE SKIP LOCKED
    LOOP
        v_ended := v_ended + orbit.end_child(v_child, 'missing')::int;
    END LOOP;
    RETURN v_ended;
END
$$;
