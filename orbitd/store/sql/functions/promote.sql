-- Move delayed runs that fell due in a time to `live`, the earliest first, p_limit at most: called by beat, and as a duty of the fleet.
-- Returns how many. What another janitor or a cancel holds is left to it.
-- What was moved before leaves dead entries at the beginning of the index until vacuum may remove them: p_from spares us those.
-- Locks: delayed, SKIP LOCKED; then as requeue.
CREATE OR REPLACE FUNCTION orbit.promote(
    p_limit int, p_from timestamptz DEFAULT '-infinity', p_until timestamptz DEFAULT clock_timestamp()
) RETURNS int
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_runs orbit.delayed[];
BEGIN
    WITH gone AS (
        DELETE FROM orbit.delayed d
         WHERE d.run_id = ANY (ARRAY(
                   SELECT due.run_id
                     FROM orbit.delayed due
                    WHERE due.due_at >= p_from AND due.due_at <= p_until
                    ORDER BY due.due_at
                    LIMIT p_limit
                      FOR UPDATE SKIP LOCKED
               ))
        RETURNING d
    )
    SELECT array_agg(gone.d ORDER BY (gone.d).due_at, (gone.d).run_id) INTO v_runs FROM gone;
    IF v_runs IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM orbit.requeue(v_runs);
    RETURN cardinality(v_runs);
END
$$;
