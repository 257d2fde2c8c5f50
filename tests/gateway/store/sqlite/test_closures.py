"""What the interface does not show of closures."""

import sqlite3
from contextlib import closing

from adapters.contract import Certainty
from gateway.store.sqlite import SqliteStore
from tests.gateway.store.samples import NOW, failed, outbound, settled, target


async def test_a_settled_target_takes_no_failure(store: SqliteStore, path: str) -> None:
    """A failure that is recorded after the success does not change the target."""
    await store.begin_close("request-1", target(), NOW)
    await store.settle_close("request-1", settled(), outbound(), None)
    await store.fail_close("request-1", failed(Certainty.UNKNOWN), outbound())
    with closing(sqlite3.connect(path)) as other:
        rows = other.execute("SELECT under_way, certainty, failure_reason FROM targets").fetchall()
    assert rows == [(0, None, None)]
