"""One transaction for a whole batch: what comes often in sets, then the other operations one after the other."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from gateway.store.base import AlreadyResolved, ContentDiffers
from gateway.store.postgres.closures import BeginClose, FailClose, SettleClose, begin_together, settle_together
from gateway.store.postgres.postings import post_together
from gateway.store.postgres.unit_of_work import Operation, UnitOfWork
from gateway.store.posting import PostingRequest

Work = PostingRequest[Any] | Operation[Any]
"""What one caller wants done."""

_IN_DOUBT = frozenset({"08", "53", "57", "58", "F0", "XX"})
"""Classes of errors after which a COMMIT may stand all the same: the server, and not the transaction, is in trouble."""


class Done(msgspec.Struct, frozen=True):
    """What an operation answered."""

    value: Any


class Raised(msgspec.Struct, frozen=True):
    """What an operation raised; it did nothing."""

    error: Exception


Outcome = Done | Raised


class RolledBack(Exception):
    """The server answered COMMIT by undoing the transaction."""


async def transact(writing: UnitOfWork, works: Sequence[Work]) -> list[Outcome]:
    """Carry the works out and commit: one outcome for each, in their order.

    Raises where the transaction cannot be committed; nothing of it stands then, unless COMMIT was sent and not
    answered: `writing.in_doubt` says so. The connection's state is the caller's to clear.
    """
    await writing.db.execute("BEGIN")
    outcomes = await _carry_out(writing, works)
    await writing.finish()
    await _commit(writing)
    return outcomes


async def _carry_out(writing: UnitOfWork, works: Sequence[Work]) -> list[Outcome]:
    postings = [work for work in works if isinstance(work, PostingRequest)]
    begins = [work for work in works if isinstance(work, BeginClose)]
    settles = [work for work in works if isinstance(work, SettleClose)]
    failing = [work.request_id for work in works if isinstance(work, FailClose)]
    concluded = [*failing, *(settle.request_id for settle in settles)]
    posted = iter(await post_together(writing, postings) if postings else ())
    begun = iter(await begin_together(writing, begins, concluded) if begins else ())
    settled = iter(await settle_together(writing, settles, failing) if settles else ())
    outcomes: list[Outcome] = []
    for work in works:
        match work:
            case PostingRequest():
                outcomes.append(_outcome(next(posted)))
            case BeginClose():
                outcomes.append(_outcome(next(begun)))
            case SettleClose():
                outcomes.append(_outcome(next(settled)))
            case _:
                outcomes.append(await _one(writing, work))
    return outcomes


def _outcome(answer: object) -> Outcome:
    return Raised(answer) if isinstance(answer, Exception) else Done(answer)


async def _one(writing: UnitOfWork, operation: Operation[Any]) -> Outcome:
    try:
        return Done(await operation(writing))
    except (ContentDiffers, AlreadyResolved, LookupError) as error:
        if type(error) in {ContentDiffers, AlreadyResolved, LookupError}:
            return Raised(error)  # a refusal, which comes before anything is written
        raise  # a KeyError or an IndexError is a bug, and may come anywhere


async def _commit(writing: UnitOfWork) -> None:
    writing.in_doubt = True
    try:
        answer = await writing.db.execute("COMMIT")
    except asyncpg.PostgresError as error:
        writing.in_doubt = writing.db.is_closed() or (error.sqlstate or "")[:2] in _IN_DOUBT
        raise
    writing.in_doubt = False
    if answer != "COMMIT":
        raise RolledBack(f"the server answered COMMIT by {answer}")
