-- Refuse a request that could never become a run: called by insert_run for each one. Names go into B-tree keys, which
-- have a largest size; control characters in them would break every line that prints them.
CREATE OR REPLACE FUNCTION orbit.check_request(
    p_pipeline text, p_args jsonb, p_key text, p_run_at timestamptz, p_tenant text, p_priority int, p_queue text
) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF p_pipeline IS NULL OR p_pipeline !~ '^[^[:cntrl:]]+$' OR octet_length(p_pipeline) > 200 THEN
        PERFORM orbit.reject(format('pipeline name %L is not valid', left(p_pipeline, 50)), 'use 1 to 200 printable bytes');
    ELSIF p_queue !~ '^[^[:cntrl:]]+$' OR octet_length(p_queue) > 200 THEN
        PERFORM orbit.reject(format('queue name %L is not valid', left(p_queue, 50)), 'use 1 to 200 printable bytes');
    ELSIF octet_length(p_tenant) > 200 THEN
        PERFORM orbit.reject(format('tenant "%s..." is longer than 200 bytes', left(p_tenant, 50)));
    ELSIF octet_length(p_key) > 500 THEN
        PERFORM orbit.reject(format('key "%s..." is longer than 500 bytes', left(p_key, 50)), 'use a hash of it');
    ELSIF p_priority NOT BETWEEN -2 AND 2 THEN
        PERFORM orbit.reject(format('priority %s is not between -2 and 2', p_priority));
    ELSIF p_run_at NOT BETWEEN '0001-01-02' AND '9999-12-30' THEN  -- what every client's own type for a time can hold
        PERFORM orbit.reject(format('run_at %s is not between the years 1 and 9999', p_run_at));
    ELSIF p_args IS NULL OR jsonb_typeof(p_args) <> 'object' THEN
        PERFORM orbit.reject(
            format('args of "%s" are %s', p_pipeline, coalesce('a JSON ' || jsonb_typeof(p_args), 'null')),
            'give a JSON object: {"name": value}'
        );
    ELSIF octet_length(p_args::text) > 262144 THEN
        PERFORM orbit.reject(
            format('args of "%s" have %s bytes, the limit is 256KiB', p_pipeline, octet_length(p_args::text)),
            'store the data elsewhere and pass its place'
        );
    END IF;
END
$$;
