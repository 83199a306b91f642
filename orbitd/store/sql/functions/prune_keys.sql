-- Delete keys whose run has ended and whose period is over, at most so many: a duty of the janitors. Returns how many.
-- Nothing depends on it but the size of the table, for an enqueue takes such a key over; a key that one is taking is left to it.
-- Locks: keys, none that somebody else has.
CREATE OR REPLACE FUNCTION orbit.prune_keys(p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    v_gone int;
BEGIN
    DELETE FROM orbit.keys k
     WHERE k.ctid = ANY (ARRAY(
               SELECT expired.ctid
                 FROM orbit.keys expired
                WHERE expired.outcome IS NOT NULL AND expired.kept_until <= clock_timestamp()
                ORDER BY expired.kept_until
                LIMIT p_limit
                  FOR UPDATE SKIP LOCKED
           ));
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    RETURN v_gone;
END
$$;
