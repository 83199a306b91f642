-- Put a run that has just failed for good into the dead-letter queue, with all that is known of it. Called by move_run.
-- The opposite: exhume.
CREATE OR REPLACE FUNCTION orbit.bury(p_live orbit.live, p_cause text, p_error text) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
    INSERT INTO orbit.failed (
        run_id, pipeline, queue, priority, tenant, args, created_at, attempt, errors, crashes, cause, error, group_id, attempts
    )
    SELECT v.id, v.pipeline, v.queue, v.priority, v.tenant, r.args, v.created_at,
           p_live.attempt, p_live.errors, p_live.crashes, p_cause, p_error, orbit.fingerprint(v.pipeline, p_cause, p_error),
           (SELECT jsonb_agg(
                       jsonb_build_object(
                           'attempt', o.attempt, 'outcome', o.outcome, 'cause', o.cause, 'error', o.error,
                           'traceback', o.traceback, 'stack', o.stack, 'host', h.name, 'slot', c.slot,
                           'started_at', o.started_at, 'finished_at', o.finished_at
                       ) ORDER BY o.finished_at
                   )
              FROM orbit.outcomes o
              LEFT JOIN orbit.children c ON c.id = o.child
              LEFT JOIN orbit.hosts h ON h.id = c.host
             WHERE o.run_id = p_live.run_id)
      FROM orbit.runs_view v
      JOIN orbit.runs r ON r.id = v.id
     WHERE v.id = p_live.run_id
        ON CONFLICT (run_id) DO NOTHING;
END
$$;
