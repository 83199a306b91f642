-- name: claim
-- An idle child looks for work.
SELECT last_seq, lane, seq, run_id, token, pipeline, tenant, args, attempt, errors, crashes
  FROM orbit.claim(%(child)s::int, %(next_token)s::bigint, %(lanes)s::int[], %(floors)s::bigint[]);

-- name: finish
-- A child that may claim no more (it drains, or its lease lapsed) reports its run.
SELECT orbit.finish(
           %(lane)s::int, %(seq)s::bigint, %(run)s::bigint, %(token)s::bigint, %(outcome)s::text, %(delay)s::float8,
           %(result)s::jsonb, %(cause)s::text, %(error)s::text, %(traceback)s::text, %(stack)s::text
       ) AS accepted;

-- name: finish_and_claim
-- A busy child reports its run and goes on with the next.
SELECT last_seq, accepted, lease_ok, lane, seq, run_id, token, pipeline, tenant, args, attempt, errors, crashes
  FROM orbit.finish_and_claim(
           %(lane)s::int, %(seq)s::bigint, %(run)s::bigint, %(token)s::bigint, %(outcome)s::text, %(delay)s::float8,
           %(result)s::jsonb, %(cause)s::text, %(error)s::text, %(traceback)s::text, %(stack)s::text,
           %(child)s::int, %(next_token)s::bigint, %(lanes)s::int[], %(floors)s::bigint[]
       );
