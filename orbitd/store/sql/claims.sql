-- name: claim
-- An idle child looks for work.
SELECT last_seq, lease_ok, lane, seq, run_id, token, pipeline, tenant, args, attempt, errors, crashes
  FROM orbit.claim(%(child)s::int, %(next_token)s::bigint, %(next_lanes)s::int[], %(floors)s::bigint[], %(wants)s::int[]);

-- name: finish
-- A child that may claim no more (it drains, or its lease lapsed) reports its runs.
SELECT orbit.finish(
           %(lanes)s::int[], %(seqs)s::bigint[], %(runs)s::bigint[], %(tokens)s::bigint[], %(outcomes)s::text[], %(seconds)s::float8[],
           %(results)s::jsonb[], %(delays)s::float8[], %(cause)s::text[], %(error)s::text[], %(traceback)s::text[],
           %(stack)s::text[]
       ) AS fenced;

-- name: finish_and_claim
-- A busy child reports its runs and goes on with the next.
SELECT last_seq, lease_ok, fenced, lane, seq, run_id, token, pipeline, tenant, args, attempt, errors, crashes
  FROM orbit.finish_and_claim(
           %(lanes)s::int[], %(seqs)s::bigint[], %(runs)s::bigint[], %(tokens)s::bigint[], %(outcomes)s::text[], %(seconds)s::float8[],
           %(results)s::jsonb[], %(delays)s::float8[], %(cause)s::text[], %(error)s::text[], %(traceback)s::text[],
           %(stack)s::text[],
           %(child)s::int, %(next_token)s::bigint, %(next_lanes)s::int[], %(floors)s::bigint[], %(wants)s::int[]
       );

-- name: release
-- A child hands back what it has claimed and will not begin.
SELECT orbit.release(%(lanes)s::int[], %(seqs)s::bigint[], %(runs)s::bigint[], %(tokens)s::bigint[]) AS released;
