-- +goose Up

-- Times are milliseconds since 1970 in UTC; 0 stands for "never". Ids are text
-- in order of time. Lists and maps are JSON text.

CREATE TABLE repositories (
    id            TEXT   NOT NULL PRIMARY KEY,
    path          TEXT   NOT NULL UNIQUE, -- absolute, of the git directory
    name          TEXT   NOT NULL UNIQUE, -- kept by an unregistered one: its results stay under it
    registered_at BIGINT NOT NULL,
    removed_at    BIGINT NOT NULL         -- 0 while it is served
);

-- The row of a counter is also the lock of what it counts.
CREATE TABLE counters (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO counters (name, value) VALUES ('pushes', 0), ('claims', 0);

CREATE TABLE runs (
    id               TEXT   NOT NULL PRIMARY KEY,
    repository_id    TEXT   NOT NULL REFERENCES repositories (id),
    commit_id        TEXT   NOT NULL, -- the full id
    short            TEXT   NOT NULL,
    ref              TEXT   NOT NULL, -- whose push created it
    state            TEXT   NOT NULL,
    waiting          TEXT   NOT NULL,
    cause            TEXT   NOT NULL,
    attempt          BIGINT NOT NULL, -- the current one
    cancel_requested BIGINT NOT NULL, -- 0 or 1
    cancel_by        TEXT   NOT NULL,
    created_at       BIGINT NOT NULL,
    started_at       BIGINT NOT NULL,
    finished_at      BIGINT NOT NULL, -- 0 while it is live
    queued_at        BIGINT NOT NULL, -- its place in the queue
    not_before       BIGINT NOT NULL, -- while it waits
    lease_owner      TEXT   NOT NULL, -- empty while nobody holds it
    lease_until      BIGINT NOT NULL,
    epoch            BIGINT NOT NULL, -- counts the claims
    UNIQUE (repository_id, commit_id),
    UNIQUE (repository_id, short)
);

CREATE INDEX runs_queue ON runs (queued_at, id) WHERE finished_at = 0;
CREATE INDEX runs_cancels ON runs (queued_at, id) WHERE finished_at = 0 AND cancel_requested = 1;
CREATE INDEX runs_leases ON runs (lease_owner, lease_until) WHERE lease_owner <> '';

CREATE TABLE pushes (
    seq           BIGINT NOT NULL PRIMARY KEY, -- order of arrival
    id            TEXT   NOT NULL,             -- of the push; one push of several refs has several rows
    repository_id TEXT   NOT NULL REFERENCES repositories (id),
    ref           TEXT   NOT NULL,
    old_id        TEXT   NOT NULL,
    new_id        TEXT   NOT NULL,
    abbrev        BIGINT NOT NULL, -- digits of the short name of a commit without a run, 0 for all
    pusher_name   TEXT   NOT NULL,
    pusher_via    TEXT   NOT NULL,
    options       TEXT   NOT NULL,
    protocol      TEXT   NOT NULL,
    source        TEXT   NOT NULL,
    decision      TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    run_id        TEXT   REFERENCES runs (id), -- NULL while the commit has no run
    at            BIGINT NOT NULL,
    UNIQUE (repository_id, id, ref)
);

CREATE INDEX pushes_order ON pushes (repository_id, seq);
CREATE INDEX pushes_commit ON pushes (repository_id, new_id, seq);
CREATE INDEX pushes_update ON pushes (repository_id, new_id, ref, seq);
CREATE INDEX pushes_ref ON pushes (repository_id, ref, seq);

CREATE TABLE attempts (
    run_id      TEXT   NOT NULL REFERENCES runs (id),
    n           BIGINT NOT NULL,
    name        TEXT   NOT NULL,
    cause       TEXT   NOT NULL,
    actor       TEXT   NOT NULL,
    resumes     BIGINT NOT NULL, -- 0 or 1
    state       TEXT   NOT NULL,
    end_cause   TEXT   NOT NULL,
    engine      TEXT   NOT NULL,
    job         TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    artifacts   TEXT   NOT NULL, -- this and the next two are the outcome's, for listings
    metrics     TEXT   NOT NULL,
    finals      TEXT   NOT NULL,
    outcome     TEXT,            -- the whole of it; NULL until the end
    PRIMARY KEY (run_id, n)
);

CREATE TABLE stages (
    run_id      TEXT   NOT NULL,
    attempt     BIGINT NOT NULL,
    name        TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    tries       BIGINT NOT NULL,
    error       TEXT   NOT NULL,
    log_path    TEXT   NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    output      TEXT,
    PRIMARY KEY (run_id, attempt, name),
    FOREIGN KEY (run_id, attempt) REFERENCES attempts (run_id, n)
);

CREATE TABLE submissions (
    run_id       TEXT   NOT NULL,
    attempt      BIGINT NOT NULL,
    stage        TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    engine       TEXT   NOT NULL,
    engine_id    TEXT   NOT NULL, -- empty until confirmed
    intended_at  BIGINT NOT NULL,
    confirmed_at BIGINT NOT NULL,
    PRIMARY KEY (run_id, attempt, stage),
    FOREIGN KEY (run_id, attempt) REFERENCES attempts (run_id, n)
);

CREATE TABLE outbox (
    id         TEXT   NOT NULL PRIMARY KEY,
    run_id     TEXT   NOT NULL,
    attempt    BIGINT NOT NULL,
    tries      BIGINT NOT NULL,
    cause      TEXT   NOT NULL, -- why the last try failed
    not_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (run_id, attempt),
    FOREIGN KEY (run_id, attempt) REFERENCES attempts (run_id, n)
);

CREATE TABLE events (
    id            TEXT   NOT NULL PRIMARY KEY,
    repository_id TEXT,   -- NULL: of the whole host
    run_id        TEXT,
    kind          TEXT   NOT NULL,
    text          TEXT   NOT NULL,
    at            BIGINT NOT NULL
);

CREATE INDEX events_repository ON events (repository_id, id);
