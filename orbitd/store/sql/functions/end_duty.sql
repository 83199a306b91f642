-- Say how a duty went: p_error null means that it was done. A failed one is due again soon, for any host.
-- Locks: duties.
CREATE OR REPLACE FUNCTION orbit.end_duty(p_name text, p_error text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    UPDATE orbit.duties d
       SET done_at = CASE WHEN p_error IS NULL THEN v_now ELSE d.done_at END,
           error = p_error,
           next_at = CASE WHEN p_error IS NULL THEN d.next_at ELSE least(d.next_at, v_now + interval '1 min') END
     WHERE d.name = p_name;
END
$$;
