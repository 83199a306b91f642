-- A child has connected, for the first time or again: give it an id to claim with. Again means that the same process (nonce)
-- comes with a new connection: what it had before is ended, so that no claim of the lost connection can commit any more; a
-- run which that claim took without the child's knowledge is handed back untouched; what it holds goes on under the new id.
-- Raises OR001 when the host has been ended.
-- The lock timeout: as finish.
-- Locks: hosts, KEY SHARE; children; live in order.
CREATE OR REPLACE FUNCTION orbit.start_child(
    p_host int, p_slot int, p_nonce text, p_pid int,
    p_lanes int[], p_seqs bigint[], p_runs bigint[], p_tokens bigint[], p_asked_token bigint, p_asked_lanes int[]
) RETURNS int
LANGUAGE plpgsql
SET lock_timeout = '2s'
AS $$
DECLARE
    v_child int;
    v_run   record;
BEGIN
    PERFORM FROM orbit.hosts h WHERE h.id = p_host AND h.ended_at IS NULL FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'OR001' USING MESSAGE = format('host %s was ended', p_host);
    END IF;
    PERFORM orbit.end_child(c.id, 'reconnected')
       FROM orbit.children c
      WHERE c.host = p_host AND c.nonce = p_nonce AND c.ended_at IS NULL;
    INSERT INTO orbit.children (host, slot, nonce, pid) VALUES (p_host, p_slot, p_nonce, p_pid) RETURNING id INTO v_child;

    FOR v_run IN
        SELECT * FROM orbit.asked_and_held(p_lanes, p_seqs, p_runs, p_tokens, NULL, p_asked_token, p_asked_lanes)
    LOOP
        IF v_run.asked THEN
            PERFORM orbit.release(ARRAY[v_run.lane], ARRAY[v_run.seq], ARRAY[v_run.run_id], ARRAY[v_run.token]);
        ELSE
            UPDATE orbit.live l
               SET child = v_child
             WHERE l.lane = v_run.lane AND l.seq = v_run.seq AND l.run_id = v_run.run_id AND l.token = v_run.token;
        END IF;
    END LOOP;
    RETURN v_child;
END
$$;
