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

CREATE TABLE counters (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE events (
    id            TEXT   NOT NULL PRIMARY KEY,
    repository_id TEXT,   -- NULL: of the whole host
    run_id        TEXT,
    kind          TEXT   NOT NULL,
    text          TEXT   NOT NULL,
    at            BIGINT NOT NULL
);

CREATE TABLE ledger_version (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);

CREATE TABLE "outbox" (
    id         TEXT   NOT NULL PRIMARY KEY,
    run_id     TEXT   NOT NULL,
    attempt    BIGINT NOT NULL,
    kind       TEXT   NOT NULL, -- git or notify
    tries      BIGINT NOT NULL,
    cause      TEXT   NOT NULL, -- why the last try failed
    not_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (run_id, attempt, kind),
    FOREIGN KEY (run_id, attempt) REFERENCES attempts (run_id, n)
);

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

CREATE TABLE repositories (
    id            TEXT   NOT NULL PRIMARY KEY,
    path          TEXT   NOT NULL UNIQUE, -- absolute, of the git directory
    name          TEXT   NOT NULL UNIQUE, -- kept by an unregistered one: its results stay under it
    registered_at BIGINT NOT NULL,
    removed_at    BIGINT NOT NULL         -- 0 while it is served
, turn BIGINT NOT NULL DEFAULT 0);

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
    not_before       BIGINT NOT NULL, -- while it waits
    lease_owner      TEXT   NOT NULL, -- empty while nobody holds it
    lease_until      BIGINT NOT NULL,
    epoch            BIGINT NOT NULL, priority BIGINT NOT NULL DEFAULT 0, engine TEXT NOT NULL DEFAULT '', place BIGINT NOT NULL DEFAULT 0, -- counts the claims
    UNIQUE (repository_id, commit_id),
    UNIQUE (repository_id, short)
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

CREATE INDEX events_repository ON events (repository_id, id);

CREATE INDEX outbox_due ON outbox (kind, not_before, id);

CREATE INDEX pushes_commit ON pushes (repository_id, new_id, seq);

CREATE INDEX pushes_order ON pushes (repository_id, seq);

CREATE INDEX pushes_runs ON pushes (repository_id, ref, seq) WHERE run_id IS NOT NULL;

CREATE INDEX pushes_update ON pushes (repository_id, new_id, ref, seq);

CREATE INDEX runs_begun ON runs (place) WHERE finished_at = 0 AND state <> 'queued';

CREATE INDEX runs_cancels ON runs (place) WHERE finished_at = 0 AND cancel_requested = 1;

CREATE INDEX runs_leases ON runs (lease_owner, lease_until) WHERE lease_owner <> '';

CREATE INDEX runs_queue ON runs (repository_id, priority DESC, place) WHERE finished_at = 0;

CREATE INDEX runs_usual ON runs (repository_id, finished_at) WHERE state = 'succeeded';

CREATE INDEX runs_usual_ref ON runs (repository_id, ref, finished_at) WHERE state = 'succeeded';

INSERT INTO attempts VALUES ('id-000003', 1, 'aa00000', 'push', 'ann', 0, 'succeeded', 'exit status 0', '', '', 1800000000000, 1800000003000, 'file:///store/a', 'file:///store/m', '{"loss":0.25}', '{"state":"succeeded","cause":"exit status 0","run":"aa00000","attempt":1,"name":"aa00000","commit":"aa00000000000000000000000000000000000001","repository":"dogs","ref":"refs/heads/models","subject":"train longer","pusher":"ann","engine":"","command":["train"],"overrides":["lr=0.1"],"artifacts":"file:///store/a","metrics":"file:///store/m","log":"file:///store/log","values":[{"name":"loss","final":0.25,"points":[{"step":1,"value":0.5},{"step":2,"value":0.25}]}],"warnings":["the log was capped"],"created":"0001-01-01T00:00:00Z","started":"0001-01-01T00:00:00Z","finished":"0001-01-01T00:00:00Z","git_models_version":""}');
INSERT INTO attempts VALUES ('id-000003', 2, 'aa00000-r2', 'again', 'ann', 0, 'queued', '', '', '', 1800000003000, 0, '', '', '', NULL);
INSERT INTO attempts VALUES ('id-000004', 1, 'bb00000', 'push', 'ann', 0, 'submitted', '', 'process', '4711', 1800000001000, 0, '', '', '', NULL);
INSERT INTO attempts VALUES ('id-000005', 1, 'cc00000', 'push', 'ann', 0, 'queued', '', '', '', 1800000002000, 0, '', '', '', NULL);
INSERT INTO attempts VALUES ('id-000008', 1, 'ee00000', 'push', 'ann', 0, 'queued', '', '', '', 1800000003000, 0, '', '', '', NULL);

INSERT INTO counters VALUES ('claims', 3);
INSERT INTO counters VALUES ('places', 5);
INSERT INTO counters VALUES ('pushes', 6);

INSERT INTO events VALUES ('id-000002', 'id-000001', NULL, 'registered', '/srv/git/dogs.git', 1800000000000);
INSERT INTO events VALUES ('id-000007', 'id-000001', 'id-000003', 'succeeded', 'exit status 0', 1800000003000);
INSERT INTO events VALUES ('id-000010', 'id-000001', 'id-000003', 'again', 'asked by ann', 1800000003000);

INSERT INTO ledger_version VALUES (1, 0, 1, '2026-01-01 00:00:00');
INSERT INTO ledger_version VALUES (2, 1, 1, '2026-01-01 00:00:00');
INSERT INTO ledger_version VALUES (3, 2, 1, '2026-01-01 00:00:00');

INSERT INTO outbox VALUES ('id-000009', 'id-000003', 1, 'notify', 0, '', 0, 1800000003000);

INSERT INTO pushes VALUES (1, 'skip', 'id-000001', 'refs/heads/models', '0000000000000000000000000000000000000000', 'dd00000000000000000000000000000000000001', 7, 'ann', 'GL_USER', '["ci.variable=x"]', 'ssh', 'hook', 'skipped', 'no change', NULL, 1800000000000);
INSERT INTO pushes VALUES (2, 'push-aa00000000000000000000000000000000000001', 'id-000001', 'refs/heads/models', '0000000000000000000000000000000000000000', 'aa00000000000000000000000000000000000001', 7, 'ann', 'GL_USER', '["ci.variable=x"]', 'ssh', 'hook', 'run', '', 'id-000003', 1800000000000);
INSERT INTO pushes VALUES (3, 'push-bb00000000000000000000000000000000000001', 'id-000001', 'refs/heads/models', '0000000000000000000000000000000000000000', 'bb00000000000000000000000000000000000001', 7, 'ann', 'GL_USER', '["ci.variable=x"]', 'ssh', 'hook', 'run', '', 'id-000004', 1800000001000);
INSERT INTO pushes VALUES (4, 'push-cc00000000000000000000000000000000000001', 'id-000001', 'refs/heads/models', '0000000000000000000000000000000000000000', 'cc00000000000000000000000000000000000001', 7, 'ann', 'GL_USER', '["ci.variable=x"]', 'ssh', 'hook', 'run', '', 'id-000005', 1800000002000);
INSERT INTO pushes VALUES (5, 'urgent', 'id-000001', 'refs/heads/models', '0000000000000000000000000000000000000000', 'ee00000000000000000000000000000000000001', 7, 'ann', 'GL_USER', '["ci.variable=x"]', 'ssh', 'hook', 'run', '', 'id-000008', 1800000003000);
INSERT INTO pushes VALUES (6, 'again', 'id-000001', 'refs/heads/models', '0000000000000000000000000000000000000000', 'aa00000000000000000000000000000000000001', 7, 'ann', 'GL_USER', '["ci.variable=x"]', 'ssh', 'hook', 'run', '', 'id-000003', 1800000003000);

INSERT INTO repositories VALUES ('id-000001', '/srv/git/dogs.git', 'dogs', 1800000000000, 0, 3);

INSERT INTO runs VALUES ('id-000003', 'id-000001', 'aa00000000000000000000000000000000000001', 'aa00000', 'refs/heads/models', 'queued', '', '', 2, 0, '', 1800000000000, 0, 0, 0, '', 0, 1, -3, '', 5);
INSERT INTO runs VALUES ('id-000004', 'id-000001', 'bb00000000000000000000000000000000000001', 'bb00000', 'refs/heads/models', 'submitted', '', '', 1, 0, '', 1800000001000, 1800000003000, 0, 0, 'w1', 1800000063000, 1, 0, 'process', 2);
INSERT INTO runs VALUES ('id-000005', 'id-000001', 'cc00000000000000000000000000000000000001', 'cc00000', 'refs/heads/models', 'queued', 'engine: none', '', 1, 0, '', 1800000002000, 0, 0, 1800003603000, '', 0, 1, 0, '', 3);
INSERT INTO runs VALUES ('id-000008', 'id-000001', 'ee00000000000000000000000000000000000001', 'ee00000', 'refs/heads/models', 'queued', '', '', 1, 0, '', 1800000003000, 0, 0, 0, '', 0, 0, 7, 'slurm', 4);

INSERT INTO stages VALUES ('id-000003', 1, 'publish', 'done', 1, '', '', 1800000003000, 1800000003000, NULL);
INSERT INTO stages VALUES ('id-000004', 1, 'train', 'running', 1, '', '/log', 1800000003000, 0, NULL);

INSERT INTO submissions VALUES ('id-000004', 1, 'train', 'bb00000', 'process', '4711', 1800000003000, 1800000003000);
