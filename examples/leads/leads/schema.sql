-- What the leads example keeps. Each stage has a table, and the row of a lead in it says that the stage is done.

CREATE SCHEMA IF NOT EXISTS leads;

CREATE TABLE IF NOT EXISTS leads.leads (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address  text NOT NULL UNIQUE,            -- one letter for one address, however often a lead comes in
    name     text NOT NULL,
    trade    text NOT NULL,
    city     text NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS leads.sites (
    lead     bigint PRIMARY KEY REFERENCES leads.leads,
    page     text NOT NULL,                   -- the name of its file
    built_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS leads.letters (
    lead        bigint PRIMARY KEY REFERENCES leads.leads,
    message     bytea NOT NULL,               -- as it goes over the wire: each attempt sends the same bytes
    composed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS leads.deliveries (
    lead         bigint PRIMARY KEY REFERENCES leads.leads,
    began_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at timestamptz                  -- null: being handed over, or nobody knows
);
