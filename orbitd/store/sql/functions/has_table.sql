-- Whether there is a table of this name, also one that somebody else has just made or dropped: what to_regclass knows of names may
-- be older than the lock that its caller has waited for.
CREATE OR REPLACE FUNCTION orbit.has_table(p_name text) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'orbit'::regnamespace AND c.relname = p_name);
END
$$;
