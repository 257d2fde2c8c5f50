"""Migrations only add, on both engines, unless they say that they break."""

import pytest

from gateway.store.migration_files import BREAKS, Migration, migrations
from tests.upgrades.additive import hindrances

LATER = [
    pytest.param(step, id=f"{engine}-{step.version:04}")
    for engine in ("sqlite", "postgres")
    for step in migrations(engine)[1:]
]

OURS = """
-- What comes with this step; DROP TABLE is in a comment.
CREATE TABLE added (one TEXT NOT NULL PRIMARY KEY, two TEXT);
CREATE UNIQUE INDEX added_two ON added (two);
INSERT INTO added (one) VALUES ('row');
CREATE INDEX accounts_of_user ON accounts (user_id) WHERE user_id <> '';
ALTER TABLE accounts ADD COLUMN frozen INTEGER NOT NULL DEFAULT 0 CHECK (frozen IN (0, 1));
ALTER TABLE accounts ADD COLUMN closed_at TEXT;
"""


@pytest.mark.parametrize("step", LATER)
def test_a_migration_behind_the_first_only_adds(step: Migration) -> None:
    """The release before goes on next to this one, and can be started again after it."""
    assert step.breaks or hindrances(step.sql) == []


def test_what_only_adds_is_no_hindrance() -> None:
    """Tables, indexes, columns that need no value; and whatever is done to a table of the same step."""
    assert hindrances(OURS) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE accounts",
        "DROP INDEX events_of_user",
        "ALTER TABLE accounts DROP COLUMN cash",
        "ALTER TABLE accounts RENAME COLUMN cash TO money",
        "ALTER TABLE accounts RENAME TO purses",
        "ALTER TABLE accounts ALTER COLUMN cash TYPE bigint",
        "ALTER TABLE accounts ADD CONSTRAINT rich CHECK (cash > 0)",
        "ALTER TABLE accounts ADD COLUMN owner TEXT NOT NULL",
        "ALTER TABLE accounts ADD COLUMN owner TEXT NOT NULL DEFAULT NULL",
        "ALTER TABLE accounts ADD COLUMN owner TEXT UNIQUE",
        "ALTER TABLE accounts ADD COLUMN owner TEXT, ADD COLUMN purse TEXT NOT NULL",
        "CREATE UNIQUE INDEX one_account ON accounts (user_id)",
        "CREATE TRIGGER watch AFTER INSERT ON accounts BEGIN SELECT 1; END",
        "UPDATE accounts SET cash = '0'",
        "DELETE FROM events",
        "INSERT INTO providers (name) VALUES ('acme')",
        "DO $$ BEGIN PERFORM 1; END $$",
    ],
)
def test_what_the_release_before_could_stumble_over_is_found(statement: str) -> None:
    """Each is named, also between statements that only add."""
    found = hindrances(f"CREATE TABLE added (one TEXT);\n{statement.lower()};\nCREATE INDEX two ON added (one);")
    assert found
    assert found[0].startswith(statement.lower().split(";", maxsplit=1)[0])
    assert hindrances(f"{statement};")


def test_a_migration_that_breaks_says_so_in_its_first_line() -> None:
    """Then its number is what a release that does not know it refuses to start on."""
    assert Migration(2, f"{BREAKS}\nDROP TABLE accounts;").breaks
    assert not Migration(2, f"DROP TABLE accounts;\n{BREAKS}\n").breaks
