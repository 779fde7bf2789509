-- All of it lies in the schema `sentinel`, by the connection's search_path. Days of audit_logs are made by the program.
CREATE TABLE counters (
    name  text PRIMARY KEY,
    value bigint NOT NULL
);
-- epoch: kill switches and revocations share it; last_revision: numbers are given once; current_revision: 0 for none
INSERT INTO counters (name, value) VALUES ('epoch', 0), ('last_revision', 0), ('current_revision', 0);

CREATE TABLE revisions (
    revision   bigint PRIMARY KEY,
    digest     bytea NOT NULL,
    text       text NOT NULL,
    snapshot   bytea NOT NULL,
    made_by    text NOT NULL,
    note       text NOT NULL,
    at_unix_ms bigint NOT NULL,
    away_from  bytea,
    published  boolean NOT NULL DEFAULT FALSE
);

CREATE TABLE kill_switches (
    scope         bigint NOT NULL,
    name          text NOT NULL,
    origin        text NOT NULL,
    backend       text NOT NULL,
    own           text NOT NULL,
    epoch         bigint NOT NULL,
    is_on         boolean NOT NULL,
    reason        text NOT NULL,
    made_by       text NOT NULL,
    since_unix_ms bigint NOT NULL,
    PRIMARY KEY (scope, name, origin)
);

CREATE TABLE revoked_tokens (
    jti           text NOT NULL,
    issuer        text NOT NULL,
    epoch         bigint NOT NULL,
    until_unix    bigint NOT NULL,
    made_by       text NOT NULL,
    since_unix_ms bigint NOT NULL,
    PRIMARY KEY (jti, issuer)
);

CREATE TABLE planes (
    id                 text PRIMARY KEY,
    name               text NOT NULL,
    version            text NOT NULL,
    secret_hash        bytea NOT NULL,
    first_seen_unix_ms bigint NOT NULL,
    last_seen_unix_ms  bigint NOT NULL,
    stopped            boolean NOT NULL,
    revision           bigint NOT NULL,
    epoch              bigint NOT NULL
);

CREATE TABLE audit_actions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_unix_ms   bigint NOT NULL,
    claimed_user text NOT NULL,
    claimed_host text NOT NULL,
    verb         text NOT NULL,
    target       text NOT NULL,
    reason       text NOT NULL,
    outcome      text NOT NULL
);

CREATE TABLE audit_logs (
    request_id         uuid NOT NULL,
    ts                 timestamptz NOT NULL,
    client             text NOT NULL,
    roles              text NOT NULL,
    session            text NOT NULL,
    tool               text NOT NULL,
    backend            text NOT NULL,
    method             text NOT NULL,
    arguments          jsonb,
    arguments_note     text NOT NULL,
    status             text NOT NULL,
    kind               text NOT NULL,
    parent             uuid,
    count              bigint NOT NULL,
    latency_us         bigint NOT NULL,
    backend_latency_us bigint NOT NULL,
    plane_id           uuid NOT NULL,
    epoch              bigint NOT NULL,
    seq                bigint NOT NULL,
    revision           bigint NOT NULL,
    prev_hash          bytea NOT NULL,
    event              bytea NOT NULL,
    UNIQUE (plane_id, epoch, seq, ts)
) PARTITION BY RANGE (ts);
CREATE INDEX audit_logs_by_ts ON audit_logs (ts);
CREATE INDEX audit_logs_by_request ON audit_logs (request_id);
CREATE INDEX audit_logs_by_client ON audit_logs (client, ts);
CREATE INDEX audit_logs_by_tool ON audit_logs (tool, ts);
-- the net below: rows of days that have no partition, because a plane's clock is off or the day job was late
CREATE TABLE audit_logs_default PARTITION OF audit_logs DEFAULT;

CREATE TABLE audit_quarantine (
    plane_id   text NOT NULL,
    epoch      bigint NOT NULL,
    seq        bigint NOT NULL,
    prev_hash  bytea NOT NULL,
    event      bytea NOT NULL,
    reason     text NOT NULL,
    at_unix_ms bigint NOT NULL,
    PRIMARY KEY (plane_id, epoch, seq)
);
CREATE INDEX audit_quarantine_by_time ON audit_quarantine (at_unix_ms);
