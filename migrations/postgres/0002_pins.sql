-- Definitions of tools that are trusted, by backend and its own name; an empty hash: none is. `definition` is canonical
-- JSON, empty where it was too long to be kept.
CREATE TABLE pins (
    backend       text NOT NULL,
    own           text NOT NULL,
    exposed       text NOT NULL,
    hash          bytea NOT NULL,
    definition    text NOT NULL,
    is_held       boolean NOT NULL,
    is_settled    boolean NOT NULL,
    reason        text NOT NULL,
    made_by       text NOT NULL,
    since_unix_ms bigint NOT NULL,
    epoch         bigint NOT NULL,
    PRIMARY KEY (backend, own)
);
INSERT INTO counters (name, value) VALUES ('pins', 0);
