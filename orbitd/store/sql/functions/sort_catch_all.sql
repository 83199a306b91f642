-- Move runs out of the catch-all lane whose pipeline has been registered, making their lanes: called by beat.
-- Looks at p_limit rows a call, after where this host looked last, and begins again at the end: so each row is looked at in
-- time, even one whose producer committed late, and a million runs of unknown pipelines cost no more than a few.
-- Returns how many rows it looked at.
-- Locks: hosts (held by beat); live, SKIP LOCKED; lanes in order of their key; then as requeue.
CREATE OR REPLACE FUNCTION orbit.sort_catch_all(p_host int, p_limit int) RETURNS int
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_after  bigint;
    v_last   bigint;
    v_looked int;
    v_known  bigint[];
    v_runs   orbit.delayed[];
BEGIN
    SELECT h.sorted_seq INTO v_after FROM orbit.hosts h WHERE h.id = p_host;
    SELECT count(*), max(page.seq), array_agg(page.seq) FILTER (WHERE p.name IS NOT NULL)
      INTO v_looked, v_last, v_known
      FROM (
           SELECT l.seq, l.run_id
             FROM orbit.live l
            WHERE l.lane = 1 AND l.seq > v_after AND l.state = 0
            ORDER BY l.lane, l.seq
            LIMIT p_limit
           ) AS page
      JOIN orbit.runs r ON r.id = page.run_id
      LEFT JOIN orbit.pipelines p ON p.name = r.pipeline;

    IF v_looked < p_limit THEN
        v_last := 0;
    END IF;
    IF v_last <> v_after THEN
        UPDATE orbit.hosts h SET sorted_seq = v_last WHERE h.id = p_host;
    END IF;
    IF v_known IS NULL THEN
        RETURN v_looked;
    END IF;

    INSERT INTO orbit.lanes (queue, pipeline, priority)
    SELECT DISTINCT coalesce(r.queue, p.queue), p.name, coalesce(r.priority, p.priority)
      FROM orbit.live l
      JOIN orbit.runs r ON r.id = l.run_id
      JOIN orbit.pipelines p ON p.name = r.pipeline
     WHERE l.lane = 1 AND l.seq = ANY (v_known)
     ORDER BY 2, 1, 3
        ON CONFLICT DO NOTHING;

    WITH gone AS (
        DELETE FROM orbit.live l
         WHERE l.lane = 1
           AND l.seq = ANY (ARRAY(
                   SELECT v.seq
                     FROM orbit.live v
                    WHERE v.lane = 1 AND v.seq = ANY (v_known) AND v.state = 0
                    ORDER BY v.lane, v.seq
                      FOR UPDATE SKIP LOCKED
               ))
        RETURNING l.*
    )
    SELECT array_agg(
               ROW(gone.run_id, NULL, lanes.id, gone.attempt, gone.errors, gone.crashes, gone.flags)::orbit.delayed
               ORDER BY gone.seq
           )
      INTO v_runs
      FROM gone
      JOIN orbit.runs r ON r.id = gone.run_id
      JOIN orbit.pipelines p ON p.name = r.pipeline
      JOIN orbit.lanes ON lanes.pipeline = p.name
                      AND lanes.queue = coalesce(r.queue, p.queue)
                      AND lanes.priority = coalesce(r.priority, p.priority);
    PERFORM orbit.requeue(v_runs);
    RETURN v_looked;
END
$$;
