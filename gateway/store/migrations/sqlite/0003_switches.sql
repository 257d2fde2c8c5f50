-- Which operator disabled or enabled which provider: lines are only added. A provider is enabled until its line number 1
-- disables it, and each line changes to the other state: odd numbers disable.
CREATE TABLE provider_switches (
    position    INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    provider    TEXT NOT NULL,
    number      INTEGER NOT NULL CHECK (number >= 1),
    switched_at TEXT NOT NULL,
    switched_by TEXT NOT NULL,
    reason      TEXT NOT NULL,
    UNIQUE (provider, number)
) STRICT;
