-- A state as a sentence about a run has it: for the refusals of acts.
CREATE OR REPLACE FUNCTION orbit.in_words(p_state text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    RETURN CASE WHEN p_state IN ('succeeded', 'failed') THEN 'has ' WHEN p_state = 'cancelled' THEN 'was ' ELSE 'is ' END || p_state;
END
$$;
