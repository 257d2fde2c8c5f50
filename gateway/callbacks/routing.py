"""A provider as its callbacks need it, and one callback on its way from the door to the answer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from adapters.contract import (
    Accepted,
    Account,
    Adapter,
    Callback,
    CallbackAnswer,
    CallbackFault,
    CallbackRefused,
    Credited,
    HttpReply,
    HttpRequest,
    Notification,
    Rejected,
)
from gateway.callbacks.response import refuse_unsendable
from gateway.masking.mask import Mask
from gateway.store.models import Direction, Exchange, Message, Redelivery


@dataclass(frozen=True, slots=True)
class CallbackProvider:
    """A configured provider that may call: its dialect, its account, and what its messages must not show, keys too."""

    adapter: Adapter[Any]
    account: Account[Any]
    mask: Mask

    @property
    def name(self) -> str:
        return self.account.provider


class CallbackOutcome(msgspec.Struct, frozen=True):
    """What a callback came to: the answer, the bytes that say it in the dialect, and a word to a person."""

    answer: CallbackAnswer
    reply: HttpReply
    detail: str = ""
    reference: str = ""

    def __str__(self) -> str:
        """The journal's word for it."""
        match self.answer:
            case Accepted():
                return "ACCEPTED"
            case Credited():
                return "CREDITED"
            case Rejected(fault=fault):
                return fault


class Route:
    """One callback of one provider. Raises what the adapter raises where it cannot even say TRY_AGAIN."""

    __slots__ = ("_sorry", "callback", "path", "provider")

    def __init__(self, provider: CallbackProvider, path: str, callback: Callback[Any, Notification]) -> None:
        self.provider = provider
        self.path = path
        self.callback = callback
        # Encoded ahead, so that a bug of the adapter's can be answered without the adapter.
        self._sorry = self._encoded(Rejected(CallbackFault.TRY_AGAIN))

    def verdict(self, answer: CallbackAnswer, detail: str = "", reference: str = "") -> CallbackOutcome:
        return CallbackOutcome(answer, self._encoded(answer), detail, reference)

    def _encoded(self, answer: CallbackAnswer) -> HttpReply:
        reply = self.callback.encode_reply(self.provider.account, answer)
        refuse_unsendable(reply.headers)  # before anything is kept that could not be answered then
        return reply

    def try_again(self, detail: str) -> CallbackOutcome:
        """The fault is ours, or the outcome unknown: the provider must send again."""
        return CallbackOutcome(Rejected(CallbackFault.TRY_AGAIN), self._sorry, detail)


Routes = Mapping[tuple[str, str], Route]
"""All callbacks that are served, by provider and path, the path in lower case."""


def routes_of(providers: Iterable[CallbackProvider]) -> Routes:
    """The routes of these providers. Raises what an adapter raises that cannot even say TRY_AGAIN."""
    return {
        (provider.name, path.lower()): Route(provider, path, callback)
        for provider in providers
        for path, callback in provider.adapter.callbacks.items()
    }


class InboundCallback(msgspec.Struct, frozen=True):
    """A callback that came through the door, or is delivered once more, as far as it was received."""

    id: str
    route: Route
    peer: str
    started_at: datetime
    request: HttpRequest
    kept: Message
    """The request, masked."""
    refused: CallbackRefused | None = None
    """Why the body was not taken, where it was not."""
    redelivery: Redelivery | None = None
    """Who delivers it once more, where it is not the provider."""

    def without_body(self) -> "InboundCallback":
        """The same, once it is read: what waits for a slow store must not hold a body in memory."""
        bodiless = HttpRequest(self.request.method, self.request.path, self.request.query, self.request.headers)
        return InboundCallback(
            self.id,
            self.route,
            self.peer,
            self.started_at,
            bodiless,
            self.kept,
            self.refused,
            self.redelivery,
        )

    def read(self) -> Notification:
        """What the provider tells. Raises CallbackRefused."""
        if self.refused is not None:
            raise self.refused
        account = self.route.provider.account
        self.route.callback.verify(account, self.request)
        return self.route.callback.decode(account, self.request)

    def exchange(self, verdict: CallbackOutcome, ended_at: datetime) -> Exchange:
        """The journal's line. Its path is the URL's, without the key."""
        provider = self.route.provider
        return Exchange(
            id=self.id,
            direction=Direction.INBOUND,
            provider=provider.name,
            operation=self.route.path,
            method=self.request.method,
            path=f"/callbacks/{provider.name}/{self.route.path}" + provider.mask.query(self.request.query),
            request=self.kept,
            started_at=self.started_at,
            ended_at=ended_at,
            verdict=str(verdict),
            status=verdict.reply.status,
            reply=Message(provider.mask.head(verdict.reply.headers), provider.mask.body(verdict.reply.body)),
            detail=provider.mask.text(verdict.detail),
            peer=self.peer,
            redelivery=self.redelivery,
        )
