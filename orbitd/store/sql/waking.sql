-- name: look
-- A janitor is awake: there is traffic, and a child is idle.
SELECT last_seq, lanes, seqs, counts, next_due_seconds
  FROM orbit.find_work(%(lanes)s::int[], %(floors)s::bigint[], %(most)s::int);

-- name: doze
-- The traffic has ceased: somebody shall ring when there is more.
SELECT last_seq, lanes, seqs, counts, next_due_seconds, producers
  FROM orbit.doze(%(lanes)s::int[], %(floors)s::bigint[], %(most)s::int);

-- name: stay_awake
-- There is traffic: nobody needs to ring.
SELECT orbit.stay_awake(%(ticket)s::bigint);
