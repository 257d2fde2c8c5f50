-- What the operator's wallet credited, as it answered: the accounts are the operator's.
CREATE TABLE wallet_credits (
    provider        TEXT NOT NULL CHECK (provider <> ''),
    reference       TEXT NOT NULL CHECK (reference <> ''),
    kind            TEXT NOT NULL CHECK (kind = 'RESULT'),
    transaction_id  TEXT NOT NULL,
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
    CHECK ((promo_amount IS NULL) = (promo_reference = ''))
) STRICT;

-- A player's transactions, newest first.
CREATE INDEX transactions_of_user ON transactions (user_id, created_at, provider, reference);
CREATE INDEX wallet_credits_of_user ON wallet_credits (user_id, created_at, provider, reference);

ALTER TABLE reconciliation_items ADD COLUMN kind TEXT NOT NULL DEFAULT 'RESULT_REFUSED';
-- Who resolved it; '' is the gateway itself. `resolution` says why.
ALTER TABLE reconciliation_items ADD COLUMN resolved_by TEXT NOT NULL DEFAULT '';

-- Where an open item points, a line of the journal keeps its body.
CREATE INDEX reconciliation_items_open_exchanges ON reconciliation_items (exchange_id) WHERE resolved_at IS NULL;

ALTER TABLE exchanges ADD COLUMN redelivery_of TEXT NOT NULL DEFAULT '';
ALTER TABLE exchanges ADD COLUMN redelivered_by TEXT NOT NULL DEFAULT '';
ALTER TABLE exchanges ADD COLUMN redelivery_why TEXT NOT NULL DEFAULT '';
ALTER TABLE exchanges ADD COLUMN trimmed INTEGER NOT NULL DEFAULT 0 CHECK (trimmed IN (0, 1));

CREATE INDEX exchanges_refused ON exchanges (position)
    WHERE direction = 'INBOUND' AND verdict NOT IN ('ACCEPTED', 'CREDITED');
CREATE INDEX exchanges_to_trim ON exchanges (ended_at) WHERE trimmed = 0;

-- When the attempt in progress began; NULL where a release before this column began it: the closure's time counts then.
ALTER TABLE targets ADD COLUMN begun_at TEXT;

CREATE INDEX targets_under_way ON targets (request_id, number) WHERE under_way = 1;
