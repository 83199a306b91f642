-- The last statement of a transaction that a pipeline has opened for itself: count it in the run's row, so that a child which then loses
-- the reply to its COMMIT finds out by last_commit what has become of it. A transaction's own number would not do: after a failover, or
-- a crash, another one may have it. Returns the count, which begins anew before it is too large; null: the run is no longer the caller's.
-- Locks: live, NO KEY UPDATE; whoever moves the run to a new connection waits until the commit.
CREATE OR REPLACE FUNCTION orbit.count_commit(p_lane int, p_seq bigint, p_run bigint, p_token bigint) RETURNS smallint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    v_commits smallint;
BEGIN
    UPDATE orbit.live l
       SET commits = (l.commits + 1) % 32768
     WHERE l.lane = p_lane AND l.seq = p_seq AND l.run_id = p_run AND l.token = p_token AND l.state = 1
    RETURNING l.commits INTO v_commits;
    RETURN v_commits;
END
$$;
