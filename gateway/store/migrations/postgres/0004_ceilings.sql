-- What each provider's callbacks credited in a currency, by minute: a JSON object of decimal texts. Only where
-- max_amount_per_h is configured. The row is locked while a Result is judged.
CREATE TABLE credited_windows (
    provider text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    minutes  text NOT NULL,
    PRIMARY KEY (provider, currency)
);

-- Results that the operator's wallet was asked to credit, and whose outcome is not known. Each is counted in `minute`.
CREATE TABLE ceiling_admissions (
    provider  text COLLATE "C" NOT NULL,
    reference text COLLATE "C" NOT NULL,
    currency  text NOT NULL,
    amount    numeric NOT NULL CHECK (amount >= 0 AND amount < 'Infinity'),
    minute    bigint NOT NULL,
    PRIMARY KEY (provider, reference)
);
