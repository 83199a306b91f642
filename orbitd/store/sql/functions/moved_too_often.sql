-- Give up an act on a run that was elsewhere each time it was to be locked. 40001 is what programs know as "try again".
CREATE OR REPLACE FUNCTION orbit.moved_too_often(p_run bigint) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE SQLSTATE '40001' USING MESSAGE = format('run %s moved too often to be caught', p_run), HINT = 'try again';
END
$$;
