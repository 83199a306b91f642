-- A janitor falls asleep: from now on it wants to be rung for. It draws a ticket (bells_wanted), and looks once more, as find_work.
--     producers   transactions that may have written work which this look did not see, and may have read the mark before the
--                 ticket was drawn: until none of these is left, look again
--
-- Why no run is overlooked, in three steps of a producer (lock 7002; read the mark; commit) and three of the janitor (draw; read
-- the locks; look). A producer that is not among the locks read either took its lock later, hence reads the mark after the
-- draw, and rings; or has let it go earlier, hence has committed before the look, which sees it. A commit becomes visible before
-- its locks are let go; sequences are read as they are, whatever the reader's snapshot.
CREATE OR REPLACE FUNCTION orbit.doze(
    p_lanes int[], p_floors bigint[], p_most int,
    OUT last_seq bigint, OUT lanes int[], OUT seqs bigint[], OUT counts int[], OUT next_due_seconds float8, OUT producers text[]
)
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM nextval('orbit.bells_wanted');
    SELECT coalesce(array_agg(DISTINCT held.virtualtransaction), '{}') INTO producers
      FROM pg_locks held
     WHERE held.locktype = 'advisory' AND held.classid = 7002 AND held.objsubid = 2
       AND held.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
    SELECT work.last_seq, work.lanes, work.seqs, work.counts, work.next_due_seconds
      INTO last_seq, lanes, seqs, counts, next_due_seconds
      FROM orbit.find_work(p_lanes, p_floors, p_most) AS work;
END
$$;
