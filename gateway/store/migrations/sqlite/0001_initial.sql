-- Money is an exact decimal in plain notation as TEXT: SQLite's own numbers are binary floats.
-- Times are ISO 8601 in UTC with microseconds, so that they sort as text. '' means 'not given'.

CREATE TABLE closures (
    request_id    TEXT NOT NULL PRIMARY KEY,
    kind          TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    clear_history INTEGER NOT NULL CHECK (clear_history IN (0, 1)),
    reason        TEXT NOT NULL,
    created_at    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE targets (
    request_id         TEXT NOT NULL REFERENCES closures (request_id),
    number             INTEGER NOT NULL CHECK (number >= 1),
    provider           TEXT NOT NULL,
    session_id         TEXT NOT NULL,
    game_id            TEXT NOT NULL,
    attempts           INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    under_way          INTEGER NOT NULL DEFAULT 0 CHECK (under_way IN (0, 1)),
    -- Of the attempts that were concluded, together; NULL where none was.
    certainty          TEXT CHECK (certainty IN ('NOT_SENT', 'REFUSED', 'UNKNOWN')),
    failure_reason     TEXT,
    failure_detail     TEXT,
    outcome            TEXT CHECK (outcome IN ('CLOSED', 'NO_ACTIVE_SESSION')),
    answer_code        TEXT,
    answer_description TEXT,
    answer_http_status INTEGER,
    end_time           TEXT,
    PRIMARY KEY (request_id, number),
    CHECK ((outcome IS NULL) = (end_time IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE CHECK (id <> ''),
    type       TEXT NOT NULL,
    time       TEXT NOT NULL,
    provider   TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    session_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    reference  TEXT NOT NULL
) STRICT;

CREATE INDEX events_of_user ON events (user_id, position);

CREATE TABLE expiries (
    provider    TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    session_id  TEXT NOT NULL,
    user_id     TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    PRIMARY KEY (provider, provider_id, session_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE providers (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    user_id   TEXT NOT NULL,
    currency  TEXT NOT NULL,
    opening   TEXT NOT NULL CHECK (opening GLOB '[0-9]*' AND opening NOT GLOB '*[^0-9.]*'),
    cash      TEXT NOT NULL CHECK (cash GLOB '[0-9]*' AND cash NOT GLOB '*[^0-9.]*'),
    opened_at TEXT NOT NULL,
    PRIMARY KEY (user_id, currency)
) STRICT, WITHOUT ROWID;

-- Every credit, once. A promotional prize has a separate reference in the same name space.
CREATE TABLE transactions (
    provider        TEXT NOT NULL CHECK (provider <> ''),
    reference       TEXT NOT NULL CHECK (reference <> ''),
    kind            TEXT NOT NULL CHECK (kind IN ('RESULT', 'PROMO')),
    transaction_id  TEXT NOT NULL UNIQUE,
    user_id         TEXT NOT NULL,
    currency        TEXT NOT NULL,
    amount          TEXT NOT NULL CHECK (amount GLOB '[0-9]*' AND amount NOT GLOB '*[^0-9.]*'),
    round_id        TEXT NOT NULL,
    game_id         TEXT NOT NULL,
    session_id      TEXT NOT NULL,
    promo_amount    TEXT CHECK (promo_amount GLOB '[0-9]*' AND promo_amount NOT GLOB '*[^0-9.]*'),
    promo_reference TEXT NOT NULL,
    created_at      TEXT NOT NULL,
    PRIMARY KEY (provider, reference),
    FOREIGN KEY (user_id, currency) REFERENCES accounts (user_id, currency),
    CHECK ((promo_amount IS NULL) = (promo_reference = ''))
) STRICT;

CREATE TABLE reconciliation_items (
    position    INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    provider    TEXT NOT NULL,
    reference   TEXT NOT NULL,
    fault       TEXT NOT NULL,
    field       TEXT NOT NULL,
    detail      TEXT NOT NULL,
    user_id     TEXT NOT NULL,
    created_at  TEXT NOT NULL,
    exchange_id TEXT NOT NULL,
    resolved_at TEXT,
    resolution  TEXT NOT NULL DEFAULT '',
    UNIQUE (provider, reference, user_id, fault, field),
    CHECK ((resolved_at IS NULL) = (resolution = ''))
) STRICT;

CREATE INDEX reconciliation_items_open ON reconciliation_items (position) WHERE resolved_at IS NULL;

CREATE TABLE exchanges (
    position     INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    direction    TEXT NOT NULL,
    provider     TEXT NOT NULL,
    operation    TEXT NOT NULL,
    method       TEXT NOT NULL,
    path         TEXT NOT NULL,
    request_head TEXT NOT NULL,
    request_body BLOB NOT NULL,
    reply_head   TEXT NOT NULL,
    reply_body   BLOB NOT NULL,
    started_at   TEXT NOT NULL,
    ended_at     TEXT NOT NULL,
    verdict      TEXT NOT NULL,
    request_id   TEXT NOT NULL,
    attempt      INTEGER NOT NULL,
    status       INTEGER NOT NULL,
    certainty    TEXT,
    detail       TEXT NOT NULL,
    peer         TEXT NOT NULL,
    attempt_uuid TEXT NOT NULL
) STRICT;

CREATE INDEX exchanges_of_request ON exchanges (request_id) WHERE request_id <> '';

-- One row, written by each ping: only a write shows that the disk takes writes.
CREATE TABLE pings (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    count INTEGER NOT NULL
) STRICT;
