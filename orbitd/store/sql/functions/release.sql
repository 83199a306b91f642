-- Hand back a run that was not begun, as if it had never been claimed: start_child does so with what a lost claim brought.
-- Returns whether it was still the claim's.
-- Locks: as take_back.
CREATE OR REPLACE FUNCTION orbit.release(p_lane int, p_seq bigint, p_run bigint, p_token bigint) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN orbit.take_back(p_lane, p_seq, p_run, p_token, false, 'none', NULL, NULL, NULL, false) IS NOT NULL;
END
$$;
