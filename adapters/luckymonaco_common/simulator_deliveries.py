"""What the simulated provider has to tell, in the form of its document's examples, and how often it tries.

Documents: 002_7007c2a68586bb11.txt (SessionExpired), 004_a93688c609d824ae.txt (Auto Closing, a Result); the rules of
retransmission are from public revisions.
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.contract import Account, Attempt, HttpReply, HttpRequest
from adapters.simulation import Delivery, Expire, PlayerSession, SimulatedEvent

TRIES = 10
"""A callback without a usable answer is sent this often."""
TRIES_WHEN_REFUSED = 3
"""A callback that we answer with an error is sent this often."""
FINAL_CODES = frozenset({"15", "999"})
"""Errors after which nothing is sent again."""


@dataclass(frozen=True, slots=True)
class Member:
    """What tells one member of the family from another."""

    version: str
    provider_id: str
    clears_history: bool = False
    result_names_session: bool = False


@dataclass(frozen=True, slots=True)
class _Pending:
    delivery: Delivery
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Deliveries:
    """The provider's asynchronous queue, oldest first."""

    pending: tuple[_Pending, ...] = ()
    next_id: int = 1

    def due(self) -> tuple[Delivery, ...]:
        return tuple(pending.delivery for pending in self.pending)

    def adding(self, request: HttpRequest) -> "Deliveries":
        return Deliveries((*self.pending, _Pending(Delivery(self.next_id, request))), self.next_id + 1)

    def hearing(self, delivery: Delivery, reply: HttpReply | None) -> "Deliveries":
        """The queue after our answer to one delivery; None where there was no answer."""
        kept = (pending if pending.delivery.id != delivery.id else _after(pending, reply) for pending in self.pending)
        return replace(self, pending=tuple(pending for pending in kept if pending is not None))


def _after(pending: _Pending, reply: HttpReply | None) -> _Pending | None:
    code = _code(pending.delivery.request.path, reply)
    if code == "0" or code in FINAL_CODES:
        return None
    tried = _Pending(
        replace(pending.delivery, tries=pending.delivery.tries + 1),
        refusals=pending.refusals + (code is not None),
    )
    return None if tried.refusals >= TRIES_WHEN_REFUSED or tried.delivery.tries >= TRIES else tried


def _code(path: str, reply: HttpReply | None) -> str | None:
    """The code in our answer; None where there is no answer, or one that the document does not describe."""
    if reply is None or reply.status != 200:
        return None
    try:
        said = json.loads(reply.body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    error = said.get("error") if isinstance(said, dict) else None
    if type(error) not in (int, str):
        return None
    if str(error) == "0" and path.endswith("/Result") and not _shows_the_balance(said):
        return None
    return str(error)


def _shows_the_balance(said: dict[str, Any]) -> bool:
    """Whether a success has what the document requires of one to Result: transactionId, currency and cash."""
    texts = (said.get("transactionId"), said.get("currency"))
    numbers = (said.get("cash"), said.get("bonus", 0))
    return all(isinstance(text, str) and text for text in texts) and all(
        type(number) in (int, float) for number in numbers
    )


# --- The requests -----------------------------------------------------------------------------------------------------


def told(
    member: Member, account: Account[Any], session: PlayerSession, event: SimulatedEvent, attempt: Attempt
) -> HttpRequest:
    """The callback that tells what happened to a session."""
    if isinstance(event, Expire):
        members = _session_expired(member, account, session, attempt)
        return _post(f"/{member.version}/SessionExpired", members)
    members = {
        "providerId": json.dumps(member.provider_id),
        "userId": json.dumps(session.user_id),
        "currency": json.dumps(event.currency),
        "amount": format(event.amount, "f"),
        "roundDetails": json.dumps("spin"),
        "roundid": json.dumps(event.round_id),
        "reference": json.dumps(event.reference),
        "gameId": json.dumps(session.game_id),
        "gameName": json.dumps(session.game_id.rsplit("_", 1)[-1]),
        "uuid": json.dumps(attempt.uuid),
        "timestamp": json.dumps(str(_milliseconds(attempt.now))),
    }
    if member.result_names_session:
        members["sessionId"] = json.dumps(session.session_id)
    if event.promo is not None:
        members["promoWinAmount"] = json.dumps(format(event.promo.amount, "f"))
        members["promoWinReference"] = json.dumps(event.promo.reference)
    return _post(f"/{member.version}/Result", members)


def _session_expired(member: Member, account: Account[Any], session: PlayerSession, attempt: Attempt) -> dict[str, str]:
    """Everything that the table requires, which is more than the example shows."""
    token = account.token.reveal() if account.token else f"token-of-{session.user_id}"
    return {
        "secureLogin": json.dumps(account.settings.secure_login),
        "providerId": json.dumps(member.provider_id),
        "sessionId": json.dumps(session.session_id),
        "userId": json.dumps(session.user_id),
        "token": json.dumps(token),
        "uuid": json.dumps(attempt.uuid),
    }


def _post(path: str, members: dict[str, str]) -> HttpRequest:
    """The request with these members, each already written as JSON: a Decimal would not survive a writer as it is."""
    body = ",\n".join(f'    "{name}": {value}' for name, value in members.items())
    return HttpRequest("POST", path, headers=(("Content-Type", "application/json"),), body=f"{{\n{body}\n}}".encode())


def _milliseconds(now: datetime) -> int:
    return (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
