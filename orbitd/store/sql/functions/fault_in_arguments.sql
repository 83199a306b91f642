-- What is wrong with arguments by the signature that the pipeline's mold reported, as {message, hint}; null when nothing is. For
-- insert_run and enqueue_many, once their own look at `needs` and `takes` has found that they do not fit.
-- Names only; values are checked by the child.
CREATE OR REPLACE FUNCTION orbit.fault_in_arguments(p_pipeline text, p_needs text[], p_takes text[], p_args jsonb) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
    v_missing text;
    v_unknown text;
BEGIN
    SELECT string_agg(format('"%s"', name), ', ') INTO v_missing FROM unnest(p_needs) AS name WHERE NOT p_args ? name;
    IF v_missing IS NOT NULL THEN
        RETURN ARRAY[format('"%s" needs the argument %s', p_pipeline, v_missing), NULL];
    END IF;

    SELECT string_agg(format('"%s"', name), ', ') INTO v_unknown FROM jsonb_object_keys(p_args) AS name WHERE name <> ALL (p_takes);
    RETURN ARRAY[
        format('"%s" takes no argument %s', p_pipeline, v_unknown),
        'it takes ' || coalesce(nullif(array_to_string(p_takes, ', '), ''), 'none')
    ];
END
$$;
