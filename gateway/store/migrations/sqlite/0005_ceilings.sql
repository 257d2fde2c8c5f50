-- What each provider's callbacks credited in a currency, by minute: a JSON object of decimal texts. Only where
-- max_amount_per_h is configured.
CREATE TABLE credited_windows (
    provider TEXT NOT NULL,
    currency TEXT NOT NULL,
    minutes  TEXT NOT NULL,
    PRIMARY KEY (provider, currency)
) STRICT, WITHOUT ROWID;

-- Results that the operator's wallet was asked to credit, and whose outcome is not known. Each is counted in `minute`.
CREATE TABLE ceiling_admissions (
    provider  TEXT NOT NULL,
    reference TEXT NOT NULL,
    currency  TEXT NOT NULL,
    amount    TEXT NOT NULL CHECK (amount GLOB '[0-9]*' AND amount NOT GLOB '*[^0-9.]*'),
    minute    INTEGER NOT NULL,
    PRIMARY KEY (provider, reference)
) STRICT, WITHOUT ROWID;
