"""Whether a migration only adds: what the release before reads and writes stays as it knows it."""

import re
from collections.abc import Iterator

_TABLE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)\b", re.IGNORECASE)
_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX (?:IF NOT EXISTS )?\w+ ON (\w+)\b", re.IGNORECASE)
_COLUMN = re.compile(r"ALTER TABLE (\w+) ADD COLUMN (?:IF NOT EXISTS )?(\w+) (.*)", re.IGNORECASE)
_ROW = re.compile(r"INSERT INTO (\w+)\b", re.IGNORECASE)


def hindrances(sql: str) -> list[str]:
    """The statements that could stop the release before from working: none where the migration only adds."""
    added = {match[1] for statement in _statements(sql) if (match := _TABLE.match(statement))}
    return [statement for statement in _statements(sql) if not _adds(statement, added)]


def _adds(statement: str, added: set[str]) -> bool:
    """Tables, and what is done to tables of this very migration; else indexes that allow whatever was allowed before,
    and columns that need no value.
    """
    if _TABLE.match(statement):
        return True
    if index := _INDEX.match(statement):
        return not index[1] or index[2] in added
    if column := _COLUMN.match(statement):
        return column[1] in added or _needs_no_value(column[3].upper())
    row = _ROW.match(statement)
    return row is not None and row[1] in added


def _needs_no_value(definition: str) -> bool:
    if re.search(r"\b(UNIQUE|PRIMARY KEY)\b", definition) or ", ADD " in definition:
        return False
    return "NOT NULL" not in definition or re.search(r"\bDEFAULT (?!NULL\b)", definition) is not None


def _statements(sql: str) -> Iterator[str]:
    without_comments = re.sub(r"--[^\n]*", "", sql)
    for statement in without_comments.split(";"):
        if words := " ".join(statement.split()):
            yield words
