-- The schema of orbitd: what a run is, where it waits, who works on it, how it ended.
--
-- A run is always in exactly one place: `live` (pending or running), `delayed`, `interrupted`, or ended (its last row in
-- `outcomes` says how). `runs_view` reads that place. Three rules hold for every table here:
--
--   * a column that changes is never indexed, so that an update stays on its page (HOT) and leaves no index entry behind
--     (but for `keys.outcome`, which is set once, and only for keys with a period);
--   * no table is partitioned by a column that changes;
--   * history (`runs`, `outcomes`, `steps`, `run_logs`) is only inserted, and partitioned by run id, which grows with time.

-- One counter for run ids, one for the order of waiting. CACHE 1: a cached block would hand out numbers out of order of time.
CREATE SEQUENCE orbit.run_numbers AS bigint CACHE 1;
CREATE SEQUENCE orbit.ready_numbers AS bigint CACHE 1;

-- Whether producers have to ring, see doze: some janitor sleeps while bells_wanted is ahead of bells_heard. Sequences, because they
-- are changed in place and seen at once: a row would be another version at each change, to be walked by every producer.
CREATE SEQUENCE orbit.bells_wanted AS bigint CACHE 1;
CREATE SEQUENCE orbit.bells_heard AS bigint CACHE 1;
SELECT setval('orbit.bells_wanted', 1), setval('orbit.bells_heard', 1);


-- ------------------------------------------------------------------------------------------------------------ who works

-- One incarnation of an arbiter. A beat updates one row in place; fillfactor leaves room for it.
CREATE TABLE orbit.hosts (
    id            int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    boot_id       text NOT NULL UNIQUE,       -- random, made by the arbiter: a host's name says nothing about who is alive
    name          text NOT NULL,
    pid           int NOT NULL,
    version       text NOT NULL,
    pipelines     text[] NOT NULL DEFAULT '{}',  -- what it serves
    lease         interval NOT NULL,
    lease_until   timestamptz NOT NULL,       -- after this it may not claim; others may end it
    steady_since  timestamptz NOT NULL,       -- since when the lease never lapsed: only a steady host may end another
    sorted_seq    bigint NOT NULL DEFAULT 0,  -- how far it has looked through the catch-all lane
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at      timestamptz,                -- set once, never cleared
    ended_cause   text,
    CHECK ((ended_at IS NULL) = (ended_cause IS NULL))
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

-- One connection of a child to this database. Who claims holds its row FOR KEY SHARE, who ends it takes it FOR UPDATE:
-- so no claim can commit for a child that has been ended.
CREATE TABLE orbit.children (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host        int NOT NULL REFERENCES orbit.hosts,
    slot        smallint NOT NULL,
    nonce       text NOT NULL,
    pid         int NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    timestamptz,
    ended_cause text,
    CHECK ((ended_at IS NULL) = (ended_cause IS NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX children_host ON orbit.children (host);

-- What the daemons can run, as their molds reported it. Producers only read it.
CREATE TABLE orbit.pipelines (
    name          text PRIMARY KEY,
    queue         text NOT NULL,
    priority      smallint NOT NULL CHECK (priority BETWEEN -2 AND 2),
    signature     jsonb NOT NULL,             -- {"required": [...], "optional": [...], "open": false}
    max_attempts  smallint NOT NULL,          -- so many errors fail a run for good
    max_crashes   smallint NOT NULL,          -- and so many crashes
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    needs         text[] NOT NULL DEFAULT '{}',  -- the names in the signature, as an enqueue checks them at once
    takes         text[]                         -- null: any
);

-- (queue, pipeline, priority) as a small integer, so that a filter or a pause is a set of integers in a child's memory.
CREATE TABLE orbit.lanes (
    id       int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue    text NOT NULL,
    pipeline text NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN -2 AND 2),
    UNIQUE (pipeline, queue, priority)
);

-- Lane 1 is the catch-all: runs whose lane does not exist yet wait there until a janitor sorts them. Nobody claims from it.
INSERT INTO orbit.lanes (queue, pipeline, priority) VALUES ('', '', 0);


-- ---------------------------------------------------------------------------------------------------------- what is asked

-- The input of a run. Columns are in the order that needs the least padding.
CREATE TABLE orbit.runs (
    id         bigint PRIMARY KEY,            -- day << 39 | number, see next_run_id
    seq        bigint,                        -- with lane: where the run waits first (`requeued`: since); null: it began in `delayed`
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_at     timestamptz,
    lane       int NOT NULL,
    priority   smallint CHECK (priority BETWEEN -2 AND 2),
    queue      text,                          -- null, and priority too: as its pipeline says once it is registered
    pipeline   text NOT NULL,
    tenant     text,
    key        text,
    created_by text NOT NULL DEFAULT session_user,
    args       jsonb NOT NULL
) PARTITION BY RANGE (id);
CREATE INDEX runs_key ON orbit.runs (key) WHERE key IS NOT NULL;  -- only runs with a key pay for it

-- Idempotency keys: each of a run that has not ended, or that ended before the period was over for which it was given the key.
CREATE TABLE orbit.keys (
    pipeline   text,
    key        text,
    run_id     bigint NOT NULL,
    kept_until timestamptz,                   -- null: the key is free when its run ends
    outcome    text,                          -- how its run has ended, which may be gone by now; null: it has not
    PRIMARY KEY (pipeline, key),
    CHECK (outcome IN ('succeeded', 'failed', 'cancelled')),
    CHECK (kept_until IS NOT NULL OR outcome IS NULL)
) WITH (autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX keys_ended ON orbit.keys (kept_until) WHERE outcome IS NOT NULL;  -- what prune_keys looks for; set once, for the few that are kept

CREATE TABLE orbit.cancel_requests (
    run_id bigint PRIMARY KEY,
    by     text NOT NULL,
    reason text,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);


-- ------------------------------------------------------------------------------------------------------ where a run waits

-- Waiting and running. Exactly one index, on columns that never change. Half of each page is left free, because all rows
-- of a page may be claimed before the first of them is pruned. Columns are in the order that needs no padding; those that a claim
-- leaves as they are come first, so that its WAL record is short.
-- vacuum_truncate would take an exclusive lock that stops every claim.
CREATE TABLE orbit.live (
    seq        bigint NOT NULL DEFAULT nextval('orbit.ready_numbers'),
    run_id     bigint NOT NULL,
    lane       int NOT NULL,
    errors     smallint NOT NULL DEFAULT 0,   -- those that the pipeline lost (limit: max_attempts)
    crashes    smallint NOT NULL DEFAULT 0,   -- those that its process lost (limit: max_crashes)
    flags      smallint NOT NULL DEFAULT 0,   -- 1 has a key, 2 has a row in requeued
    commits    smallint NOT NULL DEFAULT 0,   -- transactions of its pipeline's own that have committed, see count_commit
    attempt    smallint NOT NULL DEFAULT 0,   -- begun tries
    child      int,
    claimed_at timestamptz,
    token      bigint,                        -- the fence: random, brought by the claimer, new for each claim
    state      smallint NOT NULL DEFAULT 0,   -- 0 pending, 1 running
    PRIMARY KEY (lane, seq),
    CHECK (state IN (0, 1)),
    CHECK (num_nulls(token, claimed_at, child) = CASE state WHEN 0 THEN 3 ELSE 0 END)
) WITH (
    fillfactor = 45,
    autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_threshold = 100000, autovacuum_analyze_scale_factor = 0, vacuum_truncate = off
);

-- Runs that were taken back and wait again in their old place, below the numbers from which claims and looks begin: beats tell
-- their hosts. A row may outlast the run's waiting; see first_returned.
CREATE TABLE orbit.returned (
    lane int NOT NULL,
    seq  bigint NOT NULL
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);

-- Scheduled, backing off, snoozed. At due_at a janitor moves the run to `live`, with a new seq.
CREATE TABLE orbit.delayed (
    run_id  bigint PRIMARY KEY,
    due_at  timestamptz NOT NULL,
    lane    int NOT NULL,
    attempt smallint NOT NULL,
    errors  smallint NOT NULL,
    crashes smallint NOT NULL,
    flags   smallint NOT NULL
) WITH (
    autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);
CREATE INDEX delayed_due_at ON orbit.delayed (due_at);
CREATE INDEX delayed_lane ON orbit.delayed (lane);

-- Taken back from the dead, and waiting for a person (recovery.mode = "hold").
CREATE TABLE orbit.interrupted (
    run_id  bigint PRIMARY KEY,
    lane    int NOT NULL,
    attempt smallint NOT NULL,
    errors  smallint NOT NULL,
    crashes smallint NOT NULL,
    flags   smallint NOT NULL,
    cause   text NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.05);

-- The present (lane, seq) of runs that no longer wait where `runs` says.
CREATE TABLE orbit.requeued (
    run_id bigint PRIMARY KEY,
    lane   int NOT NULL,
    seq    bigint NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0);


-- ---------------------------------------------------------------------------------------------------- what became of them

-- One row an attempt. A run cancelled before its first attempt has one too; its token is negative, which no claim's is.
CREATE TABLE orbit.outcomes (
    run_id      bigint,
    token       bigint,
    started_at  timestamptz,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    child       int,
    attempt     smallint NOT NULL,
    reported    boolean NOT NULL,             -- by the child that ran it; false: somebody took it back or cancelled it
    outcome     text NOT NULL,
    cause       text,
    error       text,
    traceback   text,
    stack       text,
    result      jsonb,
    PRIMARY KEY (run_id, token),
    CHECK (outcome IN ('succeeded', 'retried', 'snoozed', 'interrupted', 'failed', 'cancelled')),
    CHECK (result IS NULL OR outcome = 'succeeded')
) PARTITION BY RANGE (run_id);

-- The dead-letter queue. Each row holds all that is known of its run, so that it needs no other table to be kept for it.
CREATE TABLE orbit.failed (
    run_id      bigint PRIMARY KEY,
    pipeline    text NOT NULL,
    queue       text NOT NULL,
    priority    smallint NOT NULL,
    tenant      text,
    args        jsonb NOT NULL,
    created_at  timestamptz NOT NULL,
    attempt     smallint NOT NULL,
    errors      smallint NOT NULL,
    crashes     smallint NOT NULL,
    cause       text NOT NULL,
    error       text,
    group_id    text NOT NULL,                -- the same for the same failure, see fingerprint
    attempts    jsonb NOT NULL,
    failed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at timestamptz,
    resolved_by text,
    notes       text,
    CHECK ((resolved_at IS NULL) = (resolved_by IS NULL))
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX failed_group ON orbit.failed (group_id, run_id);
CREATE INDEX failed_pipeline ON orbit.failed (pipeline, run_id);

-- Checkpoints. `json`, not `jsonb`: a resumed run must read back exactly the text that the step gave.
CREATE TABLE orbit.steps (
    run_id      bigint,
    key         text,
    output      json NOT NULL,
    seconds     real NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, key)
) PARTITION BY RANGE (run_id);

CREATE TABLE orbit.run_progress (
    run_id   bigint PRIMARY KEY,
    fraction real CHECK (fraction BETWEEN 0 AND 1),
    note     text,
    at       timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE orbit.run_logs (
    run_id      bigint,
    line        int,
    at          timestamptz NOT NULL,
    attempt     smallint NOT NULL,
    level       text NOT NULL,
    message     text NOT NULL,
    total_bytes int NOT NULL,                 -- of this run's lines up to this one: the limit is checked against the last
    PRIMARY KEY (run_id, line)
) PARTITION BY RANGE (run_id);


-- A place for rows of days that have no partition: enqueue works even when no daemon made one for a week, and what is still needed
-- of a day that was dropped stays here (see prune_partition). Partitions are made with the settings of these: their rows are
-- frozen as soon as they are vacuumed at all, so that no forced vacuum of old days stands in the way of dropping them.
CREATE TABLE orbit.runs_default PARTITION OF orbit.runs DEFAULT
  WITH (autovacuum_vacuum_insert_threshold = 10000, autovacuum_freeze_min_age = 0);
CREATE TABLE orbit.outcomes_default PARTITION OF orbit.outcomes DEFAULT
  WITH (autovacuum_vacuum_insert_threshold = 10000, autovacuum_freeze_min_age = 0);
CREATE TABLE orbit.steps_default PARTITION OF orbit.steps DEFAULT
  WITH (autovacuum_vacuum_insert_threshold = 10000, autovacuum_freeze_min_age = 0);
CREATE TABLE orbit.run_logs_default PARTITION OF orbit.run_logs DEFAULT
  WITH (autovacuum_vacuum_insert_threshold = 10000, autovacuum_freeze_min_age = 0);


-- What any one host of the fleet must do now and then; whichever comes first once it is due (see take_duty).
CREATE TABLE orbit.duties (
    name    text PRIMARY KEY,
    every   interval NOT NULL,
    next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- its last success; at first, when it was made
    host    int,                              -- who took it last
    error   text                              -- why it failed, until it succeeds again
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
INSERT INTO orbit.duties (name, every) VALUES
    ('partitions', '1 hour'),                 -- make those of the coming days
    ('retention', '10 min'),                  -- drop those of days that need not be kept
    ('overdue', '10 min'),                    -- find what no beat has seen when it fell due
    ('leftovers', '10 min');                  -- delete, row by row, what is not partitioned


-- Each run with its present place, for people and for lists. One statement, one snapshot: a run on its way from one table
-- to another is seen in exactly one of them.
CREATE VIEW orbit.runs_view AS
SELECT r.id,
       r.pipeline,
       coalesce(r.queue, pipelines.queue, 'default') AS queue,
       coalesce(r.priority, pipelines.priority, 0) AS priority,
       CASE WHEN live.state = 0 THEN 'pending'
            WHEN live.state = 1 THEN 'running'
            WHEN delayed.run_id IS NOT NULL THEN 'scheduled'
            WHEN interrupted.run_id IS NOT NULL THEN 'interrupted'
            ELSE last.outcome
       END AS state,
       r.tenant,
       r.key,
       coalesce(live.attempt, delayed.attempt, interrupted.attempt, last.attempt) AS attempt,
       r.created_at,
       delayed.due_at,
       coalesce(live.claimed_at, last.started_at) AS started_at,
       CASE WHEN coalesce(live.run_id, delayed.run_id, interrupted.run_id) IS NULL THEN last.finished_at END AS finished_at,
       hosts.name AS host,
       children.slot,
       last.cause,
       last.error,
       live.lane,
       live.seq
  FROM orbit.runs r
  LEFT JOIN orbit.requeued ON requeued.run_id = r.id
  LEFT JOIN orbit.live ON live.lane = coalesce(requeued.lane, r.lane)
                      AND live.seq = coalesce(requeued.seq, r.seq)
                      AND live.run_id = r.id
  LEFT JOIN orbit.delayed ON delayed.run_id = r.id
  LEFT JOIN orbit.interrupted ON interrupted.run_id = r.id
  LEFT JOIN LATERAL (
       SELECT o.*
         FROM orbit.outcomes o
        WHERE o.run_id = r.id
        ORDER BY o.finished_at DESC
        LIMIT 1
       ) last ON true
  LEFT JOIN orbit.pipelines ON pipelines.name = r.pipeline
  LEFT JOIN orbit.children ON children.id = coalesce(live.child, last.child)
  LEFT JOIN orbit.hosts ON hosts.id = children.host;


-- The dead-letter queue for reports and other programs, in the words that such queues usually have.
CREATE VIEW orbit.dead_letters AS
SELECT run_id::text AS job_id,
       queue AS queue_name,
       pipeline,
       tenant,
       args AS job_data,
       cause,
       error AS error_message,
       coalesce(attempts -> -1 ->> 'traceback', attempts -> -1 ->> 'stack') AS error_stack,
       attempt AS attempts_made,
       group_id,
       failed_at,
       resolved_at IS NOT NULL AS resolved,
       resolved_at,
       resolved_by,
       notes
  FROM orbit.failed;
