CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- RFC 3339, UTC.
    at TEXT NOT NULL,
    -- JSON.
    who TEXT NOT NULL,
    via TEXT,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- JSON.
    details TEXT NOT NULL
) STRICT;
