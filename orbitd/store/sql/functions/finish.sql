-- A child reports how attempts ended, an element of each array for each. Returns the runs whose report does not count: fenced, the
-- run was taken back and the attempt is somebody else's now. The very report that was accepted before is accepted again, so that a
-- child which lost the reply to its COMMIT may simply repeat it.
--
--     succeeded, failed, cancelled    the run ends
--     retried                         one error more; again after its delay (seconds)
--     snoozed                         no error; again after its delay
--     interrupted                     no error; pending again in its old place (the operator asked for it)
--
-- A run whose cancel was asked for is never queued again: the last three end it as cancelled.
-- p_seconds is how long each attempt took; without it, it is taken to have begun when it was claimed. This array and all behind it
-- may be null where no report has such a thing.
-- The rows are locked, or deleted, before anything else is read: `cancel` locks them too, so one of the two sees what the other
-- did. The successes, nearly all there is, are written by one statement, which needs no lock before it: that would be another
-- record of WAL. The others go one by one; where there are any, all are locked first, so that everybody locks in the same order.
-- ANY (ARRAY[lane]) is `=` and no clause to merge by: else the planner, where vacuum has seen no row in `live`, may read its whole index
-- to find one; and where somebody reads for long, vacuum sees none among a million dead ones.
-- The lock timeout: a client that gave up leaves its session waiting, and each repeated call would add one more.
-- Locks: live in order; then outcomes, delayed, failed, keys, requeued, cancel_requests.
CREATE OR REPLACE FUNCTION orbit.finish(
    p_lanes int[], p_seqs bigint[], p_runs bigint[], p_tokens bigint[], p_outcomes text[], p_seconds float8[], p_results jsonb[],
    p_delays float8[], p_causes text[], p_errors text[], p_tracebacks text[], p_stacks text[]
) RETURNS bigint[]
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan SET lock_timeout = '2s'
AS $$
DECLARE
    v_ours    bigint[] := '{}';
    v_others  int[] := '{}';
    v_at      int;
    v_live    orbit.live;
    v_outcome text;
    v_ended   bigint[];
    v_flags   smallint[];
BEGIN
    IF NOT 'succeeded' = ALL (p_outcomes) THEN
        SELECT coalesce(array_agg(t.run_id) FILTER (WHERE t.outcome <> 'succeeded'), '{}'),
               coalesce(array_agg(t.at) FILTER (WHERE t.outcome <> 'succeeded'), '{}')
          INTO v_ours, v_others
          FROM (
               SELECT *
                 FROM unnest(p_lanes, p_seqs, p_runs, p_tokens, p_outcomes)
                      WITH ORDINALITY AS told(lane, seq, run_id, token, outcome, at)
                ORDER BY lane, seq
               ) t
         CROSS JOIN LATERAL (
               SELECT l.ctid
                 FROM orbit.live l
                WHERE l.lane = t.lane AND l.seq = t.seq AND l.run_id = t.run_id AND l.token = t.token AND l.state = 1
                  FOR UPDATE
               ) l;
    END IF;

    FOREACH v_at IN ARRAY v_others LOOP
        SELECT l.* INTO v_live FROM orbit.live l WHERE l.lane = p_lanes[v_at] AND l.seq = p_seqs[v_at];
        v_outcome := p_outcomes[v_at];
        v_live.claimed_at := coalesce(clock_timestamp() - make_interval(secs => p_seconds[v_at]), v_live.claimed_at);
        v_live.errors := least(v_live.errors + (v_outcome IN ('retried', 'failed'))::int, 32767);
        IF v_outcome IN ('retried', 'snoozed', 'interrupted')
           AND EXISTS (SELECT FROM orbit.cancel_requests c WHERE c.run_id = v_live.run_id) THEN
            v_outcome := 'cancelled';
        END IF;
        PERFORM orbit.record_outcome(
            v_live, v_outcome, true, p_causes[v_at], p_errors[v_at], p_tracebacks[v_at], p_stacks[v_at], NULL
        );
        PERFORM orbit.move_run(v_live, v_outcome, p_causes[v_at], p_errors[v_at], p_delays[v_at]);
    END LOOP;

    WITH gone AS (
        DELETE FROM orbit.live l
         USING (
               SELECT *
                 FROM unnest(p_lanes, p_seqs, p_runs, p_tokens, p_outcomes, p_seconds, p_results)
                      AS told(lane, seq, run_id, token, outcome, seconds, result)
                WHERE outcome = 'succeeded'
                ORDER BY lane, seq
               ) t
         WHERE l.lane = ANY (ARRAY[t.lane]) AND l.seq = t.seq AND l.run_id = t.run_id AND l.token = t.token AND l.state = 1
        RETURNING l.run_id, l.token, l.claimed_at, l.child, l.attempt, l.flags, t.seconds, t.result
    ), written AS (
        INSERT INTO orbit.outcomes (run_id, token, started_at, child, attempt, reported, outcome, result)
        SELECT g.run_id, g.token, coalesce(clock_timestamp() - make_interval(secs => g.seconds), g.claimed_at),
               g.child, g.attempt, true, 'succeeded', g.result
          FROM gone g
    )
    SELECT array_agg(g.run_id), array_agg(g.flags) INTO v_ended, v_flags FROM gone g;
    IF v_ended IS NOT NULL THEN
        v_ours := v_ours || v_ended;
        IF 0 <> ANY (v_flags) THEN
            PERFORM orbit.forget(e.run_id, e.flags, 'succeeded') FROM unnest(v_ended, v_flags) AS e(run_id, flags) WHERE e.flags <> 0;
        END IF;
        DELETE FROM orbit.cancel_requests c WHERE c.run_id = ANY (v_ended);
    END IF;

    IF cardinality(v_ours) = cardinality(p_runs) THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(
        SELECT t.run_id
          FROM unnest(p_runs, p_tokens, p_outcomes) AS t(run_id, token, outcome)
         WHERE t.run_id <> ALL (v_ours)
           AND NOT EXISTS (
               SELECT FROM orbit.outcomes o
                WHERE o.run_id = t.run_id AND o.token = t.token AND o.reported
                  AND (o.outcome = t.outcome OR o.outcome = 'cancelled' AND t.outcome IN ('retried', 'snoozed', 'interrupted'))
           )
    );
END
$$;
