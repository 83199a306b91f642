-- Say of a failed run that it is dealt with: it stays in the dead-letter queue, out of its list. Who resolves it first is
-- remembered; notes that are given later replace those before. Returns whether it was unresolved; null: there is no such run.
-- Raises OR004 unless the run has failed, and when it is no longer in the state and attempt expected (null: never mind).
-- Locks: failed.
CREATE OR REPLACE FUNCTION orbit.dlq_resolve(
    run bigint, by_whom text DEFAULT session_user, notes text DEFAULT NULL,
    expected_state text DEFAULT NULL, expected_attempt int DEFAULT NULL
) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    v_failed orbit.failed;
BEGIN
    v_failed := orbit.lock_failed(run, expected_state, expected_attempt);
    IF v_failed.run_id IS NULL THEN
        RETURN NULL;
    END IF;
    UPDATE orbit.failed f
       SET resolved_at = coalesce(f.resolved_at, clock_timestamp()),
           resolved_by = coalesce(f.resolved_by, by_whom),
           notes = coalesce(dlq_resolve.notes, f.notes)
     WHERE f.run_id = run;
    RETURN v_failed.resolved_at IS NULL;
END
$$;
