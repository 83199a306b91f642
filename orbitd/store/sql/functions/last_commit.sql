-- The count of the last transaction of a pipeline's own that has committed, see count_commit: asked by a child over a new connection.
-- One whose COMMIT is still under way is waited for, by its lock. Null: the run is no longer the caller's.
-- The lock timeout: as finish.
-- Locks: live, NO KEY UPDATE.
CREATE OR REPLACE FUNCTION orbit.last_commit(p_lane int, p_seq bigint, p_run bigint, p_token bigint) RETURNS smallint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET lock_timeout = '2s'
AS $$
DECLARE
    v_commits smallint;
BEGIN
    SELECT l.commits INTO v_commits
      FROM orbit.live l
     WHERE l.lane = p_lane AND l.seq = p_seq AND l.run_id = p_run AND l.token = p_token AND l.state = 1
       FOR NO KEY UPDATE;
    RETURN v_commits;
END
$$;
