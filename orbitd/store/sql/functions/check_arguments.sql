-- Refuse arguments that do not fit the signature which the pipeline's mold reported: called by insert_run when it is known.
-- Names only; values are checked by the child.
CREATE OR REPLACE FUNCTION orbit.check_arguments(p_pipeline text, p_signature jsonb, p_args jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    v_required jsonb := coalesce(p_signature -> 'required', '[]');
    v_known    jsonb := v_required || coalesce(p_signature -> 'optional', '[]');
    v_missing  text;
    v_unknown  text;
BEGIN
    SELECT string_agg(format('"%s"', name), ', ') INTO v_missing
      FROM jsonb_array_elements_text(v_required) AS name
     WHERE NOT p_args ? name;
    IF v_missing IS NOT NULL THEN
        PERFORM orbit.reject(format('"%s" needs the argument %s', p_pipeline, v_missing));
    END IF;

    IF coalesce((p_signature ->> 'open')::boolean, false) THEN
        RETURN;
    END IF;
    SELECT string_agg(format('"%s"', name), ', ') INTO v_unknown
      FROM jsonb_object_keys(p_args) AS name
     WHERE NOT v_known ? name;
    IF v_unknown IS NOT NULL THEN
        PERFORM orbit.reject(
            format('"%s" takes no argument %s', p_pipeline, v_unknown),
            'it takes ' || coalesce((SELECT string_agg(name, ', ') FROM jsonb_array_elements_text(v_known) AS name), 'none')
        );
    END IF;
END
$$;
