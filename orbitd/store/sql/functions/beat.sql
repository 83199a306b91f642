-- The host's pulse, every few seconds and when a bell rings: renew the lease, move what has fallen due, and see what there
-- is to do. alive = false: the host was ended, and nothing was done. A lease that has lapsed is revived as long as nobody
-- has ended the host, but it counts as steady only from now on.
--     lanes              all lanes of the host's pipelines, in the order in which to ask them
--     lanes_with_work    those of them with a pending run, searched from the floors that the host gives (p_floors, beside
--                        p_lanes; others in full), or among the runs that were taken back; p_lanes empty: not looked for
--     first_seqs         the number of each one's first
--     server_since, last_seq   as sweep
--     next_due_seconds   until the next delayed run falls due; 0: more than one beat could move is due already
--     cancel_*           running runs of this host whose cancel was asked for, with the child that has each
--     others_lapsed      another host's lease has lapsed: there may be somebody to rescue
-- p_probes: the session rings for itself, at commit, on a channel of its own; a listener that does not hear that is deaf.
-- Nothing here waits for a lock that a producer or a child may hold for long: a beat that hangs would lose the lease.
-- Locks: hosts; then as promote, then as sort_catch_all; then as first_returned.
CREATE OR REPLACE FUNCTION orbit.beat(
    p_host int, p_lease_seconds float8, p_lanes int[], p_floors bigint[], p_probes boolean,
    OUT alive boolean, OUT server_since timestamptz, OUT last_seq bigint, OUT lease_seconds_left float8,
    OUT lanes int[], OUT lanes_with_work int[], OUT first_seqs bigint[],
    OUT next_due_seconds float8, OUT cancel_runs bigint[], OUT cancel_children int[], OUT others_lapsed boolean
)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    c_batch     constant int := 1000;
    v_now       timestamptz := clock_timestamp();
    v_lease     interval := make_interval(secs => p_lease_seconds);
    v_steady    timestamptz;
    v_from      timestamptz;
    v_pipelines text[];
    v_due       timestamptz;
    v_more      boolean;
BEGIN
    server_since := pg_postmaster_start_time();
    SELECT n.last_value INTO last_seq FROM orbit.ready_numbers n;

    UPDATE orbit.hosts h
       SET lease = v_lease, lease_until = v_now + v_lease,
           steady_since = CASE WHEN h.lease_until < v_now THEN v_now ELSE h.steady_since END
     WHERE h.id = p_host AND h.ended_at IS NULL
    RETURNING h.steady_since, h.pipelines INTO v_steady, v_pipelines;
    alive := FOUND;
    IF NOT alive THEN
        RETURN;
    END IF;

    IF p_probes THEN
        PERFORM pg_notify('orbit_probe_' || pg_backend_pid(), '');
    END IF;

    -- Who has beaten for a lease has moved what was due before that; who commits such a run later than 5 minutes leaves it to a duty.
    v_from := CASE WHEN v_steady < v_now - v_lease THEN v_now - v_lease - interval '5 min' ELSE '-infinity' END;
    v_more := orbit.promote(c_batch, v_from, v_now) = c_batch;
    v_more := orbit.sort_catch_all(p_host, c_batch) = c_batch OR v_more;

    SELECT coalesce(array_agg(l.id ORDER BY l.priority DESC, l.id), '{}'),
           coalesce(array_agg(l.id ORDER BY l.priority DESC, l.id) FILTER (WHERE work.seq IS NOT NULL), '{}'),
           coalesce(array_agg(work.seq ORDER BY l.priority DESC, l.id) FILTER (WHERE work.seq IS NOT NULL), '{}')
      INTO lanes, lanes_with_work, first_seqs
      FROM orbit.lanes l
      LEFT JOIN unnest(p_lanes, p_floors) AS known(lane, floor) ON known.lane = l.id
      LEFT JOIN orbit.first_returned() AS returned ON returned.lane = l.id
      LEFT JOIN LATERAL (
           SELECT v.seq
             FROM orbit.live v
            WHERE v.lane = l.id AND v.seq >= coalesce(known.floor, 0) AND v.state = 0 AND p_lanes <> '{}' IS NOT FALSE
            ORDER BY v.lane, v.seq
            LIMIT 1
           ) AS first ON true
     CROSS JOIN LATERAL (SELECT least(returned.seq, first.seq) AS seq) AS work
     WHERE l.pipeline = ANY (v_pipelines);

    -- What is due but was not moved is held by somebody: waiting for it would be a busy loop.
    v_now := clock_timestamp();
    SELECT d.due_at INTO v_due FROM orbit.delayed d WHERE d.due_at > v_now ORDER BY d.due_at LIMIT 1;
    next_due_seconds := CASE WHEN v_more THEN 0 ELSE extract(epoch FROM v_due - v_now) END;

    -- Step by step: from the few requests to their runs, and never the other way round.
    WITH placed AS MATERIALIZED (
        SELECT asked.run_id, place.lane, place.seq
          FROM orbit.cancel_requests asked
         CROSS JOIN LATERAL orbit.run_place(asked.run_id) AS place
    ), running AS MATERIALIZED (
        SELECT placed.run_id, v.child
          FROM placed
         CROSS JOIN LATERAL (
               SELECT l.child FROM orbit.live l WHERE l.lane = placed.lane AND l.seq = placed.seq AND l.state = 1 LIMIT 1
               ) AS v
    )
    SELECT coalesce(array_agg(running.run_id), '{}'), coalesce(array_agg(c.id), '{}') INTO cancel_runs, cancel_children
      FROM running
      JOIN orbit.children c ON c.id = running.child
     WHERE c.host = p_host AND c.ended_at IS NULL;

    others_lapsed := EXISTS (SELECT FROM orbit.hosts h WHERE h.id <> p_host AND h.ended_at IS NULL AND h.lease_until < v_now);
    SELECT extract(epoch FROM h.lease_until - clock_timestamp()) INTO lease_seconds_left FROM orbit.hosts h WHERE h.id = p_host;
END
$$;
