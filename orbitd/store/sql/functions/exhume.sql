-- Take a failed run out of the dead-letter queue, as a row that can wait again: with a fresh budget of errors and crashes, its
-- steps kept, and its key taken once more. Called by to_pending. A row of nulls: it is not there, or not with that attempt.
-- Raises OR004 when another run has the key now.
-- Locks: failed; keys.
CREATE OR REPLACE FUNCTION orbit.exhume(p_run bigint, p_attempt smallint) RETURNS orbit.delayed
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_run   orbit.delayed;
    v_asked orbit.runs;
    v_owner record;
BEGIN
    DELETE FROM orbit.failed f WHERE f.run_id = p_run AND f.attempt = p_attempt;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT r.* INTO v_asked FROM orbit.runs r WHERE r.id = p_run;
    IF v_asked.key IS NOT NULL THEN
        SELECT * INTO v_owner FROM orbit.take_key(v_asked.pipeline, v_asked.key, p_run, NULL);
        IF v_owner.o_run <> p_run THEN
            PERFORM orbit.refuse_act(
                format(
                    'run %s cannot be queued again: its key "%s" belongs to run %s now, which %s',
                    orbit.short_id(p_run), v_asked.key, orbit.short_id(v_owner.o_run), orbit.in_words(v_owner.o_state)
                ),
                format('`orbitctl rerun %s` makes a new run of it, without the key', orbit.short_id(p_run))
            );
        END IF;
    END IF;

    SELECT l.id INTO v_run.lane
      FROM orbit.lanes l
      LEFT JOIN orbit.pipelines p ON p.name = l.pipeline
     WHERE l.pipeline = v_asked.pipeline
       AND l.queue = coalesce(v_asked.queue, p.queue)
       AND l.priority = coalesce(v_asked.priority, p.priority);
    v_run.lane := coalesce(v_run.lane, 1);
    v_run.run_id := p_run;
    v_run.attempt := p_attempt;
    v_run.errors := 0;
    v_run.crashes := 0;
    v_run.flags := (v_asked.key IS NOT NULL)::int;
    RETURN v_run;
END
$$;
