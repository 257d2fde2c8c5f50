"""The callbacks of the simulated provider, in the form of its document's examples, and their retransmission.

Documents: 002_7007c2a68586bb11.txt (SessionExpired), 004_a93688c609d824ae.txt (Auto Closing, a Result). The rules of
retransmission are from public revisions.
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.contract import Account, Attempt, HttpReply, HttpRequest
from adapters.simulation import Delivery, Expire, PlayerSession, SimulatedEvent

MAX_TRIES = 10
"""How often a callback is sent in all."""
MAX_REFUSALS = 3
"""How many error answers end the retransmission."""
FINAL_CODES = frozenset({"15", "999"})
"""Errors after which nothing is sent again."""


@dataclass(frozen=True, slots=True)
class Member:
    """What differs between the members of the family."""

    version: str
    provider_id: str
    clears_history: bool = False
    result_names_session: bool = False


@dataclass(frozen=True, slots=True)
class _Queued:
    delivery: Delivery
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Deliveries:
    """The provider's queue of callbacks, oldest first."""

    queue: tuple[_Queued, ...] = ()
    next_id: int = 1

    @property
    def pending(self) -> tuple[Delivery, ...]:
        return tuple(queued.delivery for queued in self.queue)

    def add(self, request: HttpRequest) -> "Deliveries":
        return Deliveries((*self.queue, _Queued(Delivery(self.next_id, request))), self.next_id + 1)

    def on_reply(self, delivery: Delivery, reply: HttpReply | None) -> "Deliveries":
        """The queue after our reply to one delivery; None where there was no reply."""
        kept = (queued if queued.delivery.id != delivery.id else _after(queued, reply) for queued in self.queue)
        return replace(self, queue=tuple(queued for queued in kept if queued is not None))


def _after(queued: _Queued, reply: HttpReply | None) -> _Queued | None:
    """The delivery for its next try; None where there is none."""
    code = _code(queued.delivery.request.path, reply)
    if code == "0" or code in FINAL_CODES:
        return None
    tries, refusals = queued.delivery.tries + 1, queued.refusals + (code is not None)
    if tries >= MAX_TRIES or refusals >= MAX_REFUSALS:
        return None
    return _Queued(replace(queued.delivery, tries=tries), refusals)


def _code(path: str, reply: HttpReply | None) -> str | None:
    """The code in our reply; None where there is no reply, or one that the document does not describe."""
    if reply is None or reply.status != 200:
        return None
    try:
        members = json.loads(reply.body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    error = members.get("error") if isinstance(members, dict) else None
    if type(error) not in (int, str):
        return None
    if str(error) == "0" and path.endswith("/Result") and not _has_balance(members):
        return None
    return str(error)


def _has_balance(members: dict[str, Any]) -> bool:
    """Whether a success has what the document requires in a reply to Result: transactionId, currency and cash."""
    texts = (members.get("transactionId"), members.get("currency"))
    numbers = (members.get("cash"), members.get("bonus", 0))
    return all(isinstance(text, str) and text for text in texts) and all(
        type(number) in (int, float) for number in numbers
    )


# --- The requests -----------------------------------------------------------------------------------------------------


def callback_of(
    member: Member, account: Account[Any], session: PlayerSession, event: SimulatedEvent, attempt: Attempt
) -> HttpRequest:
    """The callback of an event."""
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
    """Every member that the table requires, which is more than the example has."""
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
    """The request with these members, each already encoded as JSON: a JSON writer would change a Decimal."""
    body = ",\n".join(f'    "{name}": {value}' for name, value in members.items())
    return HttpRequest("POST", path, headers=(("Content-Type", "application/json"),), body=f"{{\n{body}\n}}".encode())


def _milliseconds(now: datetime) -> int:
    return (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
