-- Tell the janitors, at commit, that there is work: "<lane> <first seq> <how many> <ticket>". How many = 0: nothing is ready yet,
-- but something may fall due earlier than they think. Polling is the truth; a bell that nobody hears loses nothing.
-- Rings only while somebody sleeps (see doze): a transaction that notifies commits alone, and a busy system needs no bells.
-- The caller has called announce_seq in this transaction: who falls asleep knows by that lock that somebody may have looked here
-- too early to ring.
CREATE OR REPLACE FUNCTION orbit.ring(p_lane int, p_seq bigint, p_count int) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    v_ticket bigint;
BEGIN
    SELECT wanted.last_value INTO v_ticket
      FROM orbit.bells_wanted wanted, orbit.bells_heard heard
     WHERE wanted.last_value > heard.last_value;
    IF FOUND THEN
        PERFORM pg_notify('orbit_work', format('%s %s %s %s', p_lane, p_seq, p_count, v_ticket));
    END IF;
END
$$;
