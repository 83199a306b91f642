-- Ask for one run of a pipeline: by any program, in its own transaction; the run exists when that commits.
--     select orbit.enqueue('invoice.sync', '{"tenant_id": 42}', key => 'inv-42', run_at => now() + interval '10 min')
-- While a run with the same pipeline and key has not ended, its id is returned and nothing is written; with key_for, also after its
-- end until so much time has passed since it was asked for.
-- Raises OR003 for what cannot be a run.
-- Locks: keys.
CREATE OR REPLACE FUNCTION orbit.enqueue(
    pipeline text, args jsonb DEFAULT '{}', key text DEFAULT NULL, run_at timestamptz DEFAULT NULL,
    tenant text DEFAULT NULL, priority int DEFAULT NULL, queue text DEFAULT NULL, key_for interval DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN (orbit.insert_run(pipeline, args, key, key_for, run_at, tenant, priority, queue)).o_id;
END
$$;
