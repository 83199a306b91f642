-- Refuse what a person wants to do to a run, because the run is not, or no longer, in a state for it.
CREATE OR REPLACE FUNCTION orbit.refuse_act(p_message text, p_hint text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE SQLSTATE 'OR004' USING MESSAGE = p_message, HINT = coalesce(p_hint, '');
END
$$;
