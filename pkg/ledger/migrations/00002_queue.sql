-- +goose Up

-- The queue: places are counted, not timed, since many pushes are recorded
-- within one millisecond. Runs that are queued keep their order.
ALTER TABLE runs ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN engine TEXT NOT NULL DEFAULT ''; -- as the commit's files say; empty: not known
ALTER TABLE runs ADD COLUMN place BIGINT NOT NULL DEFAULT 0; -- in the order of the pushes

UPDATE runs SET place = queue.n
FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY queued_at, id) AS n FROM runs WHERE finished_at = 0) AS queue
WHERE queue.id = runs.id;

UPDATE runs SET engine = s.engine
FROM submissions AS s
WHERE s.run_id = runs.id AND s.attempt = runs.attempt AND s.stage = 'train' AND runs.finished_at = 0;

INSERT INTO counters (name, value) SELECT 'places', COALESCE(MAX(place), 0) FROM runs;

DROP INDEX runs_queue;
DROP INDEX runs_cancels;
ALTER TABLE runs DROP COLUMN queued_at;

CREATE INDEX runs_queue ON runs (repository_id, priority DESC, place) WHERE finished_at = 0;
CREATE INDEX runs_begun ON runs (place) WHERE finished_at = 0 AND state <> 'queued';
CREATE INDEX runs_cancels ON runs (place) WHERE finished_at = 0 AND cancel_requested = 1;
CREATE INDEX runs_usual ON runs (repository_id, finished_at) WHERE state = 'succeeded';
CREATE INDEX runs_usual_ref ON runs (repository_id, ref, finished_at) WHERE state = 'succeeded';

-- The claim that last gave the repository a place, 0 for none: who waits longest
-- comes first.
ALTER TABLE repositories ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;

CREATE INDEX pushes_runs ON pushes (repository_id, ref, seq) WHERE run_id IS NOT NULL;
DROP INDEX pushes_ref;

-- An outcome goes to several places, one after the other.
CREATE TABLE outbox_of_kinds (
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

INSERT INTO outbox_of_kinds (id, run_id, attempt, kind, tries, cause, not_before, created_at)
SELECT id, run_id, attempt, 'git', tries, cause, not_before, created_at FROM outbox;

DROP TABLE outbox;
ALTER TABLE outbox_of_kinds RENAME TO outbox;

CREATE INDEX outbox_due ON outbox (kind, not_before, id);
