-- What is wrong with a request's options, as fault_in_request; to be asked only where there are any: most requests have none.
CREATE OR REPLACE FUNCTION orbit.fault_in_options(
    p_key text, p_key_for interval, p_run_at timestamptz, p_tenant text, p_priority int, p_queue text
) RETURNS text[]
LANGUAGE sql STABLE
AS $$
    SELECT CASE
        WHEN p_queue !~ '^[^[:cntrl:]]+$' OR octet_length(p_queue) > 200 THEN
            ARRAY[format('queue name %L is not valid', left(p_queue, 50)), 'use 1 to 200 printable bytes']
        WHEN octet_length(p_tenant) > 200 THEN
            ARRAY[format('tenant "%s..." is longer than 200 bytes', left(p_tenant, 50)), NULL]
        WHEN octet_length(p_key) > 500 THEN
            ARRAY[format('key "%s..." is longer than 500 bytes', left(p_key, 50)), 'use a hash of it']
        WHEN p_key IS NULL AND p_key_for IS NOT NULL THEN
            ARRAY['key_for without a key', 'it says for how long the key stands for its run, even after that has ended']
        WHEN p_key_for <= '0' OR p_key_for > '366 days' THEN
            ARRAY[format('key_for %s is not between 0 and 366 days', p_key_for), NULL]
        WHEN p_priority NOT BETWEEN -2 AND 2 THEN
            ARRAY[format('priority %s is not between -2 and 2', p_priority), NULL]
        WHEN p_run_at NOT BETWEEN '0001-01-02' AND '9999-12-30' THEN  -- what every client's own type for a time can hold
            ARRAY[format('run_at %s is not between the years 1 and 9999', p_run_at), NULL]
    END
$$;
