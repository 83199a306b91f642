-- Each statement looks at the next rows of one table, in the order of its key, and at what belongs to them elsewhere: one statement,
-- one snapshot, so that a run on its way from one table to another is seen in one of them. Every row looked at is returned, with
-- what was found about it, once for each finding; null: all is well.

-- name: runs
-- Each run is in exactly one place, ended once, and was reported once for each attempt; and what is unended holds its key.
WITH page AS MATERIALIZED (
    SELECT r.id, r.pipeline, r.key, r.lane, r.seq
      FROM orbit.runs r
     WHERE r.id > %(id)s::bigint AND r.id >= %(first)s::bigint
     ORDER BY r.id
     LIMIT %(limit)s::int
), seen AS MATERIALIZED (
    SELECT page.id, page.pipeline, page.key, k.run_id IS NOT NULL AS has_key, past.*,
           coalesce(l.attempt, d.attempt, i.attempt, f.attempt, past.attempt_at_end) AS attempt,
           coalesce(l.run_id, d.run_id, i.run_id) IS NOT NULL AS is_unended,
           array_remove(ARRAY[
               CASE WHEN l.run_id IS NOT NULL THEN 'live' END, CASE WHEN d.run_id IS NOT NULL THEN 'delayed' END,
               CASE WHEN i.run_id IS NOT NULL THEN 'interrupted' END, CASE WHEN f.run_id IS NOT NULL THEN 'failed' END,
               CASE WHEN past.ends > 0 THEN 'outcomes' END
           ], NULL) AS places
      FROM page
      LEFT JOIN orbit.requeued q ON q.run_id = page.id
      LEFT JOIN orbit.live l ON l.lane = coalesce(q.lane, page.lane) AND l.seq = coalesce(q.seq, page.seq) AND l.run_id = page.id
      LEFT JOIN orbit.delayed d ON d.run_id = page.id
      LEFT JOIN orbit.interrupted i ON i.run_id = page.id
      LEFT JOIN orbit.failed f ON f.run_id = page.id
      LEFT JOIN orbit.keys k ON k.pipeline = page.pipeline AND k.key = page.key AND k.run_id = page.id
     CROSS JOIN LATERAL (
           SELECT count(*) FILTER (WHERE o.outcome IN ('succeeded', 'cancelled')) AS ends,
                  max(o.attempt) FILTER (WHERE o.outcome IN ('succeeded', 'cancelled')) AS attempt_at_end,
                  max(o.attempt) AS last_attempt,
                  count(*) FILTER (WHERE o.reported) AS reports,
                  count(DISTINCT o.attempt) FILTER (WHERE o.reported) AS reported_attempts
             FROM orbit.outcomes o
            WHERE o.run_id = page.id
           ) AS past
)
SELECT seen.id, seen.pipeline, found.finding, found.details
  FROM seen
  LEFT JOIN LATERAL (
       VALUES (cardinality(places) = 0, 'lost', 'it waits nowhere, and has not ended'),
              (cardinality(places) > 1, 'doubled', format('it is in %%s', array_to_string(places, ' and in '))),
              (ends > 1, 'finished_twice', format('it has ended %%s times', ends)),
              (reports > reported_attempts, 'reported_twice', format('%%s reports of %%s attempts', reports, reported_attempts)),
              (attempt < last_attempt, 'attempt_behind', format('attempt %%s, after attempt %%s', attempt, last_attempt)),
              (is_unended AND key IS NOT NULL AND NOT has_key, 'key_lost', format('its key "%%s" is free, or another run''s', key))
       ) AS found(is_so, finding, details) ON found.is_so
 ORDER BY seen.id;

-- name: live
-- What waits or runs was asked for, is where `runs` and requeued say, and is in the hands of somebody who is there. What was in the
-- hands of the dead for less than a minute is on its way back.
WITH page AS MATERIALIZED (
    SELECT l.*
      FROM orbit.live l
     WHERE (l.lane, l.seq) > (%(lane)s::int, %(seq)s::bigint)
     ORDER BY l.lane, l.seq
     LIMIT %(limit)s::int
)
SELECT page.run_id AS id, r.pipeline, found.finding, found.details, page.lane, page.seq
  FROM page
  LEFT JOIN orbit.runs r ON r.id = page.run_id
  LEFT JOIN orbit.requeued q ON q.run_id = page.run_id
  LEFT JOIN orbit.children c ON c.id = page.child
  LEFT JOIN LATERAL (
       VALUES (r.id IS NULL, 'no_input', 'it waits or runs, and nobody asked for it'),
              ((coalesce(q.lane, r.lane), coalesce(q.seq, r.seq)) IS DISTINCT FROM (page.lane, page.seq) AND r.id IS NOT NULL, 'misplaced',
               format('it waits or runs in lane %%s at %%s, and is looked for elsewhere', page.lane, page.seq)),
              (page.state = 1 AND c.id IS NULL, 'abandoned', format('child %%s, which has it, is unknown', page.child)),
              (page.state = 1 AND c.ended_at < clock_timestamp() - interval '1 min', 'abandoned',
               format('child %%s, which has it, has ended: %%s', page.child, c.ended_cause))
       ) AS found(is_so, finding, details) ON found.is_so
 ORDER BY page.lane, page.seq;

-- name: delayed
-- What is scheduled was asked for.
SELECT page.run_id AS id, r.pipeline, page.run_id,
       CASE WHEN r.id IS NULL THEN 'no_input' END AS finding, 'it is scheduled, and nobody asked for it' AS details
  FROM (SELECT d.run_id FROM orbit.delayed d WHERE d.run_id > %(run_id)s::bigint ORDER BY d.run_id LIMIT %(limit)s::int) AS page
  LEFT JOIN orbit.runs r ON r.id = page.run_id
 ORDER BY page.run_id;

-- name: interrupted
-- What is held was asked for.
SELECT page.run_id AS id, r.pipeline, page.run_id,
       CASE WHEN r.id IS NULL THEN 'no_input' END AS finding, 'it is interrupted, and nobody asked for it' AS details
  FROM (SELECT i.run_id FROM orbit.interrupted i WHERE i.run_id > %(run_id)s::bigint ORDER BY i.run_id LIMIT %(limit)s::int) AS page
  LEFT JOIN orbit.runs r ON r.id = page.run_id
 ORDER BY page.run_id;

-- name: keys
-- A key belongs to a run that has not ended, or says how its run has (which may be gone while the key is kept).
SELECT page.run_id AS id, page.pipeline, page.key,
       CASE WHEN page.outcome IS DISTINCT FROM CASE WHEN v.id IS NULL THEN coalesce(page.outcome, 'gone')
                                                    WHEN v.state IN ('succeeded', 'failed', 'cancelled') THEN v.state
                                               END
            THEN 'key_left'
       END AS finding,
       format('the key "%%s" of a run that %%s', page.key, coalesce(orbit.in_words(v.state), 'is gone')) AS details
  FROM (
       SELECT k.*
         FROM orbit.keys k
        WHERE (k.pipeline, k.key) > (%(pipeline)s::text, %(key)s::text)
        ORDER BY k.pipeline, k.key
        LIMIT %(limit)s::int
       ) AS page
  LEFT JOIN orbit.runs_view v ON v.id = page.run_id
 ORDER BY page.pipeline, page.key;

-- name: requeued
-- A second place belongs to a run that has not ended.
SELECT page.run_id AS id, v.pipeline, page.run_id,
       CASE WHEN v.id IS NULL OR v.state IN ('succeeded', 'failed', 'cancelled') THEN 'place_left' END AS finding,
       format('the place of a run that %%s', coalesce(orbit.in_words(v.state), 'is gone')) AS details
  FROM (SELECT q.run_id FROM orbit.requeued q WHERE q.run_id > %(run_id)s::bigint ORDER BY q.run_id LIMIT %(limit)s::int) AS page
  LEFT JOIN orbit.runs_view v ON v.id = page.run_id
 ORDER BY page.run_id;

-- name: cancel_requests
-- Only of a running run a cancel is still to be carried out.
SELECT page.run_id AS id, v.pipeline, page.run_id,
       CASE WHEN v.state IS DISTINCT FROM 'running' THEN 'cancel_left' END AS finding,
       format('asked to be cancelled, it %%s', coalesce(orbit.in_words(v.state), 'is gone')) AS details
  FROM (SELECT c.run_id FROM orbit.cancel_requests c WHERE c.run_id > %(run_id)s::bigint ORDER BY c.run_id LIMIT %(limit)s::int) AS page
  LEFT JOIN orbit.runs_view v ON v.id = page.run_id
 ORDER BY page.run_id;
