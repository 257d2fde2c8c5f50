-- Which operator disabled or enabled which provider: lines are only added. A provider is enabled until its line number 1
-- disables it, and each line changes to the other state: odd numbers disable.
CREATE TABLE provider_switches (
    position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text COLLATE "C" NOT NULL UNIQUE,
    provider    text COLLATE "C" NOT NULL,
    number      integer NOT NULL CHECK (number >= 1),
    switched_at timestamptz NOT NULL,
    switched_by text NOT NULL,
    reason      text NOT NULL,
    UNIQUE (provider, number)
);
