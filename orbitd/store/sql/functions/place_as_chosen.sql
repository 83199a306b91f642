-- Where a run is now, for an act that a person has asked for: called by each of them before it takes a lock. What the act then
-- locks must still be at this place with this attempt; else it looks again. No row: there is no such run.
-- Raises OR004 when the run is no longer as it was when the person chose it (null: never mind).
CREATE OR REPLACE FUNCTION orbit.place_as_chosen(p_run bigint, p_state text, p_attempt int)
RETURNS TABLE (state text, lane int, seq bigint, attempt smallint)
LANGUAGE plpgsql ROWS 1 VOLATILE
AS $$
BEGIN
    SELECT place.* INTO state, lane, seq, attempt FROM orbit.run_place(p_run) AS place;
    IF NOT FOUND THEN
        RETURN;
    ELSIF state <> p_state OR attempt <> p_attempt THEN
        PERFORM orbit.refuse_act(
            format('run %s has changed: from %s, attempt %s, to %s, attempt %s', orbit.short_id(p_run), p_state, p_attempt, state, attempt),
            format('see `orbitctl describe %s`', orbit.short_id(p_run))
        );
    END IF;
    RETURN NEXT;
END
$$;
