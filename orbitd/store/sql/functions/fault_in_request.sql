-- What is wrong with a request's pipeline or arguments, as {message, hint}; null when nothing is. For insert_run and enqueue_many.
-- Names go into B-tree keys, which have a largest size; control characters in them would break every line that prints them.
-- One expression in the language SQL, so that it is inlined: it is asked for each run, and a call would cost ten times as much.
CREATE OR REPLACE FUNCTION orbit.fault_in_request(p_pipeline text, p_args jsonb) RETURNS text[]
LANGUAGE sql STABLE
AS $$
    SELECT CASE
        WHEN p_pipeline IS NULL OR p_pipeline !~ '^[^[:cntrl:]]+$' OR octet_length(p_pipeline) > 200 THEN
            ARRAY[format('pipeline name %L is not valid', left(p_pipeline, 50)), 'use 1 to 200 printable bytes']
        WHEN p_args IS NULL OR jsonb_typeof(p_args) <> 'object' THEN
            ARRAY[
                format('args of "%s" are %s', p_pipeline, coalesce('a JSON ' || jsonb_typeof(p_args), 'null')),
                'give a JSON object: {"name": value}'
            ]
        WHEN octet_length(p_args::text) > 262144 THEN
            ARRAY[
                format('args of "%s" have %s bytes, the limit is 256KiB', p_pipeline, octet_length(p_args::text)),
                'store the data elsewhere and pass its place'
            ]
    END
$$;
