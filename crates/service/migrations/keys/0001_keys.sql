CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    -- SHA-256 of the secret part.
    hash BLOB NOT NULL,
    -- A JSON list; NULL: every model.
    models TEXT,
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    -- Times are RFC 3339, UTC.
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT
) STRICT;

-- A name may be used again once its key is revoked.
CREATE UNIQUE INDEX living_names ON keys (name) WHERE revoked_at IS NULL;
