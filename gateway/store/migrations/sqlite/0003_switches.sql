-- Who switched which provider off or on: lines are only added. A provider is on until its line number 1 switches it off,
-- and each line switches it to the other of the two, so that odd numbers are off.
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
