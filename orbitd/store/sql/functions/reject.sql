-- Refuse what a producer asks for. OR003 is told from the database's own errors by every client.
CREATE OR REPLACE FUNCTION orbit.reject(p_message text, p_hint text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE SQLSTATE 'OR003' USING MESSAGE = p_message, HINT = coalesce(p_hint, '');
END
$$;
