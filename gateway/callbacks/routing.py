"""Routes of callbacks, and the values that pass along their path. Requests and outcomes are masked here, once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from msgspec import structs

from adapters.contract import (
    Accepted,
    Account,
    Adapter,
    Callback,
    CallbackAnswer,
    CallbackFault,
    Credited,
    Headers,
    HttpReply,
    HttpRequest,
    Notification,
    Rejected,
)
from gateway.callbacks.response import refuse_unsendable
from gateway.masking.mask import Mask
from gateway.store.ceilings import Ceiling
from gateway.store.models import THE_GATEWAY, Actor, Direction, Exchange, Message, Redelivery


@dataclass(frozen=True, slots=True)
class CallbackProvider:
    """A configured provider: its dialect, its account, and the mask for its messages, which knows its keys too."""

    adapter: Adapter[Any]
    account: Account[Any]
    mask: Mask
    ceilings: Mapping[str, Ceiling] = field(default_factory=dict)
    """By currency."""
    max_concurrent: int = 500
    """Callbacks in flight at a time."""

    @property
    def name(self) -> str:
        return self.account.provider


class CallbackOutcome(msgspec.Struct, frozen=True):
    """What a callback is answered, and the reply that says so in the dialect."""

    answer: CallbackAnswer
    reply: HttpReply
    masked_reply: Message
    detail: str = ""
    """What went wrong, for an operator; masked."""
    reference: str = ""
    """Masked."""
    age_s: float | None = None
    """Of a Result that was credited by this delivery: seconds from the provider's time to the gateway's."""

    def __str__(self) -> str:
        """ACCEPTED, CREDITED, or the fault: the journal's `verdict`."""
        match self.answer:
            case Accepted():
                return "ACCEPTED"
            case Credited():
                return "CREDITED"
            case Rejected(fault=fault):
                return fault

    @property
    def is_try_again(self) -> bool:
        """Whether the gateway failed, or does not know what the wallet did."""
        return isinstance(self.answer, Rejected) and self.answer.fault is CallbackFault.TRY_AGAIN


class Route:
    """One callback of one provider. Raises what the adapter raises if it cannot encode TRY_AGAIN."""

    __slots__ = ("_try_again", "callback", "path", "provider")

    def __init__(self, provider: CallbackProvider, path: str, callback: Callback[Any, Notification]) -> None:
        self.provider = provider
        self.path = path
        self.callback = callback
        # Made ahead, so that a bug of the adapter or of the mask has a reply.
        self._try_again = self.outcome(Rejected(CallbackFault.TRY_AGAIN))

    def url_path(self, query: Headers) -> str:
        """The path of the callback's URL with its query, masked, and without the key."""
        return f"/callbacks/{self.provider.name}/{self.path}" + self.provider.mask.query(query)

    def outcome(self, answer: CallbackAnswer, detail: str = "", reference: str = "") -> CallbackOutcome:
        """Encode an answer and mask it. Raises what the adapter raises, and ValueError if HTTP cannot carry it."""
        reply = self.callback.encode_reply(self.provider.account, answer)
        refuse_unsendable(reply.headers)  # before anything is stored
        mask = self.provider.mask
        masked_reply = Message(mask.head(reply.headers), mask.body(reply.body))
        return CallbackOutcome(answer, reply, masked_reply, mask.text(detail), mask.text(reference))

    def try_again(self, detail: str) -> CallbackOutcome:
        """The outcome if the gateway failed, or it is unknown what the wallet did: the provider must send again."""
        return structs.replace(self._try_again, detail=self.provider.mask.text(detail))


Routes = Mapping[tuple[str, str], Route]
"""All callbacks that are served, by provider and path, the path in lower case."""


def routes_of(providers: Iterable[CallbackProvider]) -> Routes:
    """The routes of these providers. Raises what an adapter raises that cannot encode TRY_AGAIN."""
    return {
        (provider.name, path.lower()): Route(provider, path, callback)
        for provider in providers
        for path, callback in provider.adapter.callbacks.items()
    }


class InboundCallback(msgspec.Struct, frozen=True):
    """An authenticated callback, or a redelivery, as it is recorded. It does not hold the unmasked request."""

    id: str
    route: Route
    peer: str
    started_at: datetime
    path: str = ""
    """See `Route.url_path`."""
    request: Message = Message()
    redelivery: Redelivery | None = None
    actor: Actor = THE_GATEWAY
    """Who asked for a redelivery."""

    def with_request(self, request: HttpRequest) -> "InboundCallback":
        """This callback with its request, masked."""
        mask = self.route.provider.mask
        return structs.replace(
            self,
            path=self.route.url_path(request.query),
            request=Message(mask.head(request.headers), mask.body(request.body)),
        )

    def exchange(self, outcome: CallbackOutcome, ended_at: datetime) -> Exchange:
        """The line of the journal."""
        return Exchange(
            id=self.id,
            direction=Direction.INBOUND,
            provider=self.route.provider.name,
            operation=self.route.path,
            method=self.route.callback.method,
            path=self.path,
            request=self.request,
            started_at=self.started_at,
            ended_at=ended_at,
            verdict=str(outcome),
            status=outcome.reply.status,
            reply=outcome.masked_reply,
            detail=outcome.detail,
            peer=self.peer,
            redelivery=self.redelivery,
            actor=self.actor,
        )
