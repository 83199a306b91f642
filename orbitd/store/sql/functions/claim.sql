-- A child asks for a run, with a token that it has just drawn and already written to its claims page. run_id null: nothing to do.
-- Raises OR001 when there is work but the child or its host has been ended, or the host's lease has lapsed.
-- The lock timeout: as finish.
-- Locks: as claim_next.
CREATE OR REPLACE FUNCTION orbit.claim(
    p_child int, p_token bigint, p_lanes int[], p_floors bigint[],
    OUT last_seq bigint, OUT lane int, OUT seq bigint, OUT run_id bigint, OUT token bigint, OUT pipeline text, OUT tenant text,
    OUT args text, OUT attempt smallint, OUT errors smallint, OUT crashes smallint
)
LANGUAGE plpgsql
SET lock_timeout = '2s'
AS $$
DECLARE
    v_next record;
BEGIN
    SELECT * INTO v_next FROM orbit.claim_next(p_child, p_token, p_lanes, p_floors);
    IF NOT v_next.o_lease_ok THEN
        RAISE SQLSTATE 'OR001' USING MESSAGE = format('child %s may not claim: it or its host was ended, or the lease lapsed', p_child);
    END IF;
    SELECT v_next.o_last_seq, v_next.o_lane, v_next.o_seq, v_next.o_run_id, p_token, v_next.o_pipeline, v_next.o_tenant,
           v_next.o_args, v_next.o_attempt, v_next.o_errors, v_next.o_crashes
      INTO last_seq, lane, seq, run_id, token, pipeline, tenant, args, attempt, errors, crashes;
END
$$;
