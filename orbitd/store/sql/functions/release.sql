-- Hand back a claimed run that was not begun, as if it had never been claimed: a drain began, or the courier gives way.
-- Returns whether it was still ours to give.
-- Locks: as take_back.
CREATE OR REPLACE FUNCTION orbit.release(p_lane int, p_seq bigint, p_run bigint, p_token bigint) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN orbit.take_back(p_lane, p_seq, p_run, p_token, false, 'none', NULL, NULL, NULL, NULL, NULL, false) IS NOT NULL;
END
$$;
