"""Windows of what was credited, and the Results that the operator's wallet was asked to credit."""

import sqlite3
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from gateway.store import ceilings
from gateway.store.ceilings import Admission, Ceiling, Minutes, Window
from gateway.store.models import Posting, PostingRefused
from gateway.store.sqlite.codecs import money_text


def read(db: sqlite3.Connection, windows: Iterable[Window]) -> dict[Window, Minutes]:
    """The stored windows among these."""
    statement = "SELECT minutes FROM credited_windows WHERE provider = ? AND currency = ?"
    found = ((window, db.execute(statement, window).fetchone()) for window in windows)
    return {window: ceilings.decode(row["minutes"]) for window, row in found if row is not None}


def write(db: sqlite3.Connection, windows: Mapping[Window, Minutes]) -> None:
    """Store windows."""
    db.executemany(
        """
        INSERT INTO credited_windows (provider, currency, minutes) VALUES (?, ?, ?)
        ON CONFLICT (provider, currency) DO UPDATE SET minutes = excluded.minutes
        """,
        [(*window, ceilings.encode(minutes)) for window, minutes in windows.items()],
    )


def admit(db: sqlite3.Connection, posting: Posting, ceiling: Ceiling, now: datetime) -> PostingRefused | None:
    """Count a Result before the operator's wallet is asked, or refuse it."""
    row = db.execute(
        "SELECT currency, amount, minute FROM ceiling_admissions WHERE provider = ? AND reference = ?",
        (posting.provider, posting.reference),
    ).fetchone()
    window = ceilings.window_of(posting)
    minutes = read(db, [window]).get(window, {}) if ceiling.counts else {}
    answer = ceilings.admitted(posting, ceiling, _admission(row), minutes, now)
    if not isinstance(answer, Admission):
        return answer
    db.execute(
        """
        INSERT OR REPLACE INTO ceiling_admissions (provider, reference, currency, amount, minute)
        VALUES (?, ?, ?, ?, ?)
        """,
        (posting.provider, posting.reference, answer.currency, money_text(answer.amount), answer.minute),
    )
    write(db, {window: ceilings.added(minutes, answer.amount, now)})
    return None


def settle(db: sqlite3.Connection, posting: Posting, now: datetime, *, new: bool) -> None:
    """The operator's wallet answered: count what it credited, and no longer count what it did not."""
    row = db.execute(
        "DELETE FROM ceiling_admissions WHERE provider = ? AND reference = ? RETURNING currency, amount, minute",
        (posting.provider, posting.reference),
    ).fetchone()
    admission = _admission(row)
    window = (posting.provider, admission.currency if admission else posting.currency)
    minutes = read(db, [window]).get(window, {})
    write(db, {window: ceilings.settled(minutes, posting, admission, now, new=new)})


def _admission(row: sqlite3.Row | None) -> Admission | None:
    return Admission(row["currency"], Decimal(row["amount"]), row["minute"]) if row is not None else None
