-- Sums of an hour. `hour` is when it began, as 2026-11-20T14 in UTC.
CREATE TABLE usage (
    hour              TEXT    NOT NULL,
    caller            TEXT    NOT NULL,
    model             TEXT    NOT NULL,
    requests          INTEGER NOT NULL,
    errors            INTEGER NOT NULL,
    cancelled         INTEGER NOT NULL,
    estimated         INTEGER NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    cached_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    duration_ms       INTEGER NOT NULL,
    PRIMARY KEY (hour, caller, model)
) WITHOUT ROWID;
