-- Money is numeric, which is exact; NaN and Infinity are numerics too, and NaN is greater than any number: each check
-- refuses both. Times are timestamptz. '' means 'not given'. Keys compare byte by byte, so that an order is the same
-- for every server and for the gateway itself.

CREATE TABLE closures (
    request_id    text COLLATE "C" PRIMARY KEY,
    kind          text NOT NULL,
    user_id       text COLLATE "C" NOT NULL,
    clear_history boolean NOT NULL,
    reason        text NOT NULL,
    created_at    timestamptz NOT NULL
);

CREATE TABLE targets (
    request_id         text COLLATE "C" NOT NULL REFERENCES closures (request_id),
    number             integer NOT NULL CHECK (number >= 1),
    provider           text COLLATE "C" NOT NULL,
    session_id         text NOT NULL,
    game_id            text NOT NULL,
    attempts           integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    under_way          boolean NOT NULL DEFAULT false,
    -- When the attempt in progress began.
    begun_at           timestamptz,
    -- Of the attempts that were concluded, together; NULL where none was.
    certainty          text CHECK (certainty IN ('NOT_SENT', 'REFUSED', 'UNKNOWN')),
    failure_reason     text,
    failure_detail     text,
    outcome            text CHECK (outcome IN ('CLOSED', 'NO_ACTIVE_SESSION')),
    answer_code        text,
    answer_description text,
    answer_http_status integer,
    end_time           timestamptz,
    PRIMARY KEY (request_id, number),
    CHECK ((outcome IS NULL) = (end_time IS NULL))
);

CREATE INDEX targets_under_way ON targets (begun_at) WHERE under_way;

-- Events are inserted without a position; the sequencer gives positions once they are committed, without a gap. It
-- looks for them from the oldest transaction that may still be in progress: among those that are numbered it would pass
-- over more dead entries the longer a backup keeps them from being cleaned up.
CREATE TABLE events (
    id         text COLLATE "C" PRIMARY KEY CHECK (id <> ''),
    arrival    bigint GENERATED ALWAYS AS IDENTITY,
    kept_by    xid8 NOT NULL DEFAULT pg_current_xact_id(),
    position   bigint UNIQUE,
    type       text NOT NULL,
    time       timestamptz NOT NULL,
    provider   text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    session_id text NOT NULL,
    request_id text NOT NULL,
    reference  text COLLATE "C" NOT NULL
);

CREATE INDEX events_without_position ON events (kept_by, arrival) WHERE position IS NULL;
CREATE INDEX events_of_user ON events (user_id, position);

-- One row: the gateway that has it locked gives positions.
CREATE TABLE sequencer (
    one smallint PRIMARY KEY CHECK (one = 1)
);

INSERT INTO sequencer (one) VALUES (1);

CREATE TABLE expiries (
    -- A digest of the four that make an expiry: together they may be longer than an index takes.
    digest      bytea PRIMARY KEY,
    provider    text NOT NULL,
    provider_id text NOT NULL,
    session_id  text NOT NULL,
    user_id     text NOT NULL,
    event_id    text NOT NULL
);

CREATE TABLE providers (
    name text COLLATE "C" PRIMARY KEY
);

CREATE TABLE accounts (
    user_id   text COLLATE "C" NOT NULL,
    currency  text COLLATE "C" NOT NULL,
    opening   numeric NOT NULL CHECK (opening >= 0 AND opening < 'Infinity'),
    cash      numeric NOT NULL CHECK (cash >= 0 AND cash < 'Infinity'),
    opened_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, currency)
);

-- Every credit of the built-in ledger, once. A promotional prize has a separate reference in the same name space.
CREATE TABLE transactions (
    provider        text COLLATE "C" NOT NULL CHECK (provider <> ''),
    reference       text COLLATE "C" NOT NULL CHECK (reference <> ''),
    kind            text NOT NULL CHECK (kind IN ('RESULT', 'PROMO')),
    transaction_id  text COLLATE "C" NOT NULL UNIQUE,
    user_id         text COLLATE "C" NOT NULL,
    currency        text COLLATE "C" NOT NULL,
    amount          numeric NOT NULL CHECK (amount >= 0 AND amount < 'Infinity'),
    round_id        text NOT NULL,
    game_id         text NOT NULL,
    session_id      text NOT NULL,
    promo_amount    numeric CHECK (promo_amount >= 0 AND promo_amount < 'Infinity'),
    promo_reference text NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (provider, reference),
    FOREIGN KEY (user_id, currency) REFERENCES accounts (user_id, currency),
    CHECK ((promo_amount IS NULL) = (promo_reference = ''))
);

CREATE INDEX transactions_of_user ON transactions (user_id, created_at, provider, reference);

-- What the operator's wallet credited, as it answered. It has its own accounts and transaction ids.
CREATE TABLE wallet_credits (
    provider        text COLLATE "C" NOT NULL CHECK (provider <> ''),
    reference       text COLLATE "C" NOT NULL CHECK (reference <> ''),
    kind            text NOT NULL CHECK (kind = 'RESULT'),
    transaction_id  text NOT NULL,
    user_id         text COLLATE "C" NOT NULL,
    currency        text NOT NULL,
    amount          numeric NOT NULL CHECK (amount >= 0 AND amount < 'Infinity'),
    round_id        text NOT NULL,
    game_id         text NOT NULL,
    session_id      text NOT NULL,
    promo_amount    numeric CHECK (promo_amount >= 0 AND promo_amount < 'Infinity'),
    promo_reference text NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (provider, reference),
    CHECK ((promo_amount IS NULL) = (promo_reference = ''))
);

CREATE INDEX wallet_credits_of_user ON wallet_credits (user_id, created_at, provider, reference);

CREATE TABLE reconciliation_items (
    position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text COLLATE "C" NOT NULL UNIQUE,
    kind        text NOT NULL DEFAULT 'RESULT_REFUSED',
    provider    text COLLATE "C" NOT NULL,
    reference   text COLLATE "C" NOT NULL,
    fault       text COLLATE "C" NOT NULL,
    field       text COLLATE "C" NOT NULL,
    detail      text NOT NULL,
    user_id     text COLLATE "C" NOT NULL,
    created_at  timestamptz NOT NULL,
    exchange_id text COLLATE "C" NOT NULL,
    resolved_at timestamptz,
    -- Who settled it: '' is the gateway itself. `resolution` says why.
    resolved_by text NOT NULL DEFAULT '',
    resolution  text NOT NULL DEFAULT '',
    UNIQUE (provider, reference, user_id, fault, field),
    CHECK ((resolved_at IS NULL) = (resolution = '')),
    CHECK (resolved_at IS NOT NULL OR resolved_by = '')
);

CREATE INDEX reconciliation_items_open ON reconciliation_items (position) WHERE resolved_at IS NULL;
CREATE INDEX reconciliation_items_of_exchange ON reconciliation_items (exchange_id);

CREATE TABLE exchanges (
    position       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             text COLLATE "C" NOT NULL UNIQUE,
    direction      text NOT NULL,
    provider       text COLLATE "C" NOT NULL,
    operation      text NOT NULL,
    method         text NOT NULL,
    path           text NOT NULL,
    request_head   text NOT NULL,
    request_body   bytea NOT NULL,
    reply_head     text NOT NULL,
    reply_body     bytea NOT NULL,
    started_at     timestamptz NOT NULL,
    ended_at       timestamptz NOT NULL,
    verdict        text NOT NULL,
    request_id     text COLLATE "C" NOT NULL,
    attempt        integer NOT NULL,
    status         integer NOT NULL,
    certainty      text,
    detail         text NOT NULL,
    peer           text NOT NULL,
    attempt_uuid   text NOT NULL,
    redelivery_of  text NOT NULL DEFAULT '',
    redelivered_by text NOT NULL DEFAULT '',
    redelivery_why text NOT NULL DEFAULT '',
    -- Heads and bodies were taken away by age.
    trimmed        boolean NOT NULL DEFAULT false
);

CREATE INDEX exchanges_of_request ON exchanges (request_id) WHERE request_id <> '';
CREATE INDEX exchanges_refused ON exchanges (position)
    WHERE direction = 'INBOUND' AND verdict NOT IN ('ACCEPTED', 'CREDITED');
CREATE INDEX exchanges_with_bodies ON exchanges (ended_at) WHERE NOT trimmed;

-- One row, written by each ping: only a write shows that the server takes writes.
CREATE TABLE pings (
    one   smallint PRIMARY KEY CHECK (one = 1),
    count bigint NOT NULL
);
