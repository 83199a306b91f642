-- Ask for one run of a pipeline: by any program, in its own transaction; the run exists when that commits.
--     select orbit.enqueue('invoice.sync', '{"tenant_id": 42}', key => 'inv-42', run_at => now() + interval '10 min')
-- While a run with the same pipeline and key has not ended, its id is returned and nothing is written.
-- Locks: keys.
CREATE OR REPLACE FUNCTION orbit.enqueue(
    pipeline text, args jsonb DEFAULT '{}', key text DEFAULT NULL, run_at timestamptz DEFAULT NULL,
    tenant text DEFAULT NULL, priority int DEFAULT NULL, queue text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN (orbit.insert_run(pipeline, args, key, run_at, tenant, priority, queue, true)).o_id;
END
$$;
