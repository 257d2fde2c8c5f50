"""One transaction for a whole batch: the frequent operations as sets, then the others one after the other."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from gateway.store.base import AlreadyResolved, ContentDiffers
from gateway.store.batching import Done, Outcome, Raised
from gateway.store.postgres.closures import BeginClose, FailClose, SettleClose, begin_batch, settle_batch
from gateway.store.postgres.postings import post_batch
from gateway.store.postgres.unit_of_work import Operation, UnitOfWork
from gateway.store.posting import PostingRequest

Request = PostingRequest[Any] | Operation[Any]
"""One caller's write."""

_IN_DOUBT = frozenset({"08", "53", "57", "58", "F0", "XX"})
"""Classes of errors after which a COMMIT may have succeeded: the server failed, and not the transaction."""


class RolledBack(Exception):
    """The server answered COMMIT with a rollback."""


async def transact(work: UnitOfWork, requests: Sequence[Request]) -> list[Outcome[Any]]:
    """Execute the requests and commit: one outcome for each, in their order.

    Raises where the transaction cannot be committed; nothing of it is stored then, unless COMMIT was sent and not
    answered: `work.in_doubt` says so. The caller resets the connection.
    """
    await work.db.execute("BEGIN")
    outcomes = await _execute(work, requests)
    await work.finish()
    await _commit(work)
    return outcomes


async def _execute(work: UnitOfWork, requests: Sequence[Request]) -> list[Outcome[Any]]:
    postings = [request for request in requests if isinstance(request, PostingRequest)]
    begins = [request for request in requests if isinstance(request, BeginClose)]
    settles = [request for request in requests if isinstance(request, SettleClose)]
    failing = [request.request_id for request in requests if isinstance(request, FailClose)]
    concluded = [*failing, *(settle.request_id for settle in settles)]
    posted = iter(await post_batch(work, postings) if postings else ())
    begun = iter(await begin_batch(work, begins, concluded) if begins else ())
    settled = iter(await settle_batch(work, settles, failing) if settles else ())
    outcomes: list[Outcome[Any]] = []
    for request in requests:
        match request:
            case PostingRequest():
                outcomes.append(_outcome(next(posted)))
            case BeginClose():
                outcomes.append(_outcome(next(begun)))
            case SettleClose():
                outcomes.append(_outcome(next(settled)))
            case _:
                outcomes.append(await _execute_one(work, request))
    return outcomes


def _outcome(result: object) -> Outcome[Any]:
    return Raised(result) if isinstance(result, Exception) else Done(result)


async def _execute_one(work: UnitOfWork, operation: Operation[Any]) -> Outcome[Any]:
    try:
        return Done(await operation(work))
    except (ContentDiffers, AlreadyResolved, LookupError) as error:
        if type(error) in {ContentDiffers, AlreadyResolved, LookupError}:
            return Raised(error)  # a refusal, raised before anything is written
        raise  # a KeyError or an IndexError is a bug, and may be raised anywhere


async def _commit(work: UnitOfWork) -> None:
    work.in_doubt = True
    try:
        answer = await work.db.execute("COMMIT")
    except asyncpg.PostgresError as error:
        work.in_doubt = work.db.is_closed() or (error.sqlstate or "")[:2] in _IN_DOUBT
        raise
    work.in_doubt = False
    if answer != "COMMIT":
        raise RolledBack(f"the server answered COMMIT by {answer}")
