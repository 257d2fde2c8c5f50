-- Who switched which provider off or on: lines are only added. A provider is on until its line number 1 switches it off,
-- and each line switches it to the other of the two, so that odd numbers are off.
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
