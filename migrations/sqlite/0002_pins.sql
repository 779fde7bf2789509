-- Definitions of tools that are trusted, by backend and its own name; an empty hash: none is. `definition` is canonical
-- JSON, empty where it was too long to be kept.
CREATE TABLE pins (
    backend       TEXT NOT NULL,
    own           TEXT NOT NULL,
    exposed       TEXT NOT NULL,
    hash          BLOB NOT NULL,
    definition    TEXT NOT NULL,
    is_held       BOOLEAN NOT NULL,
    is_settled    BOOLEAN NOT NULL,
    reason        TEXT NOT NULL,
    made_by       TEXT NOT NULL,
    since_unix_ms INTEGER NOT NULL,
    epoch         INTEGER NOT NULL,
    PRIMARY KEY (backend, own)
);
INSERT INTO counters (name, value) VALUES ('pins', 0);
