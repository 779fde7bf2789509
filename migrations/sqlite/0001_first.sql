-- Times are microseconds (`ts`) or milliseconds (`…_unix_ms`) since 1970, UTC; UUIDs are text of 36 characters.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
);
-- epoch: kill switches and revocations share it; last_revision: numbers are given once; current_revision: 0 for none
INSERT INTO counters (name, value) VALUES ('epoch', 0), ('last_revision', 0), ('current_revision', 0);

CREATE TABLE revisions (
    revision   INTEGER PRIMARY KEY,
    digest     BLOB NOT NULL,
    text       TEXT NOT NULL,
    snapshot   BLOB NOT NULL,
    made_by    TEXT NOT NULL,
    note       TEXT NOT NULL,
    at_unix_ms INTEGER NOT NULL,
    away_from  BLOB,
    published  BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE TABLE kill_switches (
    scope         INTEGER NOT NULL,
    name          TEXT NOT NULL,
    origin        TEXT NOT NULL,
    backend       TEXT NOT NULL,
    own           TEXT NOT NULL,
    epoch         INTEGER NOT NULL,
    is_on         BOOLEAN NOT NULL,
    reason        TEXT NOT NULL,
    made_by       TEXT NOT NULL,
    since_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (scope, name, origin)
);

CREATE TABLE revoked_tokens (
    jti           TEXT NOT NULL,
    issuer        TEXT NOT NULL,
    epoch         INTEGER NOT NULL,
    until_unix    INTEGER NOT NULL,
    made_by       TEXT NOT NULL,
    since_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (jti, issuer)
);

CREATE TABLE planes (
    id                 TEXT PRIMARY KEY,
    name               TEXT NOT NULL,
    version            TEXT NOT NULL,
    secret_hash        BLOB NOT NULL,
    first_seen_unix_ms INTEGER NOT NULL,
    last_seen_unix_ms  INTEGER NOT NULL,
    stopped            BOOLEAN NOT NULL,
    revision           INTEGER NOT NULL,
    epoch              INTEGER NOT NULL
);

CREATE TABLE audit_actions (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at_unix_ms   INTEGER NOT NULL,
    claimed_user TEXT NOT NULL,
    claimed_host TEXT NOT NULL,
    verb         TEXT NOT NULL,
    target       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    outcome      TEXT NOT NULL
);

CREATE TABLE audit_logs (
    request_id         TEXT NOT NULL,
    ts                 INTEGER NOT NULL,
    client             TEXT NOT NULL,
    roles              TEXT NOT NULL,
    session            TEXT NOT NULL,
    tool               TEXT NOT NULL,
    backend            TEXT NOT NULL,
    method             TEXT NOT NULL,
    arguments          TEXT,
    arguments_note     TEXT NOT NULL,
    status             TEXT NOT NULL,
    kind               TEXT NOT NULL,
    parent             TEXT,
    count              INTEGER NOT NULL,
    latency_us         INTEGER NOT NULL,
    backend_latency_us INTEGER NOT NULL,
    plane_id           TEXT NOT NULL,
    epoch              INTEGER NOT NULL,
    seq                INTEGER NOT NULL,
    revision           INTEGER NOT NULL,
    prev_hash          BLOB NOT NULL,
    event              BLOB NOT NULL,
    UNIQUE (plane_id, epoch, seq, ts)
);
CREATE INDEX audit_logs_by_ts ON audit_logs (ts);
CREATE INDEX audit_logs_by_request ON audit_logs (request_id);
CREATE INDEX audit_logs_by_client ON audit_logs (client, ts);
CREATE INDEX audit_logs_by_tool ON audit_logs (tool, ts);

CREATE TABLE audit_quarantine (
    plane_id   TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    prev_hash  BLOB NOT NULL,
    event      BLOB NOT NULL,
    reason     TEXT NOT NULL,
    at_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (plane_id, epoch, seq)
);
CREATE INDEX audit_quarantine_by_time ON audit_quarantine (at_unix_ms);
