"""The path of a callback, in order: authenticate, receive, process within the time limit, log, reply.

It serves `POST /callbacks/{provider}/{key}/{the dialect's path}`. Unauthenticated callers and unknown paths get a 404
and nothing else. Every other callback gets HTTP 200 in its own dialect, in time, whatever happened.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from time import monotonic
from typing import Protocol

import structlog
from aiohttp import HttpVersion11, web

from adapters.contract import Headers, HttpReply, HttpRequest
from gateway.callbacks.auth import CallbackAuthenticator
from gateway.callbacks.key_uses import KeyUses
from gateway.callbacks.processor import CallbackProcessor
from gateway.callbacks.rejections import CallbackRejections
from gateway.callbacks.response import BufferedResponse
from gateway.callbacks.routing import CallbackOutcome, InboundCallback, Routes
from gateway.store.ids import new_id
from gateway.telemetry.errors import log_unexpected_error
from gateway.telemetry.logs import bind
from gateway.telemetry.metrics import CallbackRejection, Metrics
from gateway.telemetry.tracing import Attributes, SpanResult, Tracer

log = structlog.get_logger(__name__)

BODY_LIMIT = 64 * 1024
"""Bytes."""

TIME_LIMIT_S = 3.2
"""Seconds from a callback's head to its reply. Providers are known to wait four by their own clock: the rest is for the
network, and for an event loop that is busy with a thousand others.
"""

_NOT_FOUND = HttpReply(404)
"""The same for each unauthenticated caller and each unknown path."""


class CallbackCaller(Protocol):
    """The connection of a request."""

    @property
    def has_more(self) -> bool:
        """Whether it has sent more than this request."""

    def authenticated(self) -> None:
        """An authenticated request is in flight now."""


class RequestAborted(Exception):
    """The caller disconnected before its body was complete, or framed it wrongly."""


class CallbackHandler:
    """Handles the callbacks of all providers. Each one is logged in one line, and counted."""

    def __init__(
        self,
        routes: Routes,
        authenticator: CallbackAuthenticator,
        processor: CallbackProcessor,
        clock: Callable[[], datetime],
        *,
        body_limit: int = BODY_LIMIT,
        time_limit_s: float = TIME_LIMIT_S,
        key_uses: KeyUses | None = None,
        metrics: Metrics | None = None,
        traces: Tracer | None = None,
    ) -> None:
        self._routes = routes
        self._authenticator = authenticator
        self._processor = processor
        self._clock = clock
        self._body_limit = body_limit
        self.time_limit_s = time_limit_s
        self.rejections = CallbackRejections(metrics)
        self._key_uses = key_uses
        self._in_flight: Counter[str] = Counter()
        """Callbacks, by provider."""
        self._metrics = metrics
        self._traces = traces
        self._log = log.bind()  # a module's logger is bound again at each line

    def replace(self, routes: Routes, authenticator: CallbackAuthenticator, body_limit: int) -> None:
        """Use these from the next request on. An authenticated request continues with its route."""
        self._routes, self._authenticator, self._body_limit = routes, authenticator, body_limit

    async def handle(self, request: web.BaseRequest, connection: CallbackCaller) -> BufferedResponse:
        """Reply to one request. If the caller disconnects after its body, the callback is still processed."""
        started = monotonic()
        try:
            callback = self._authenticate(request)
        except Exception as bug:  # noqa: BLE001 - a check that fails admits no caller
            log_unexpected_error(bug)
            callback = None
        if callback is None:
            return BufferedResponse(request, _NOT_FOUND, closes=True)
        connection.authenticated()
        provider = callback.route.provider.name
        bind(request_id=callback.id, provider=provider)  # each request has its own task
        self._in_flight[provider] += 1
        try:
            outcome = await self._admit(callback, request)
        finally:
            self._in_flight[provider] -= 1
        self._report(callback, outcome, monotonic() - started)
        # What follows may belong to this request, by another server's reading: it is not read as a request.
        closes = connection.has_more or "Transfer-Encoding" in request.headers or "Upgrade" in request.headers
        return BufferedResponse(request, outcome.reply, closes=closes)

    def _authenticate(self, request: web.BaseRequest) -> InboundCallback | None:
        root, callbacks, provider, key, path = (*request.path.split("/", 4), "", "", "", "")[:5]
        path = "/".join(filter(None, path.split("/")))  # an empty segment is a slash too many in the vendor's settings
        caller = self._authenticator.caller(request.remote, request.headers.getall("X-Forwarded-For", ()))
        peer = str(caller or request.remote or "")
        position = self._authenticator.authorize(provider, key, caller)
        if not position or (root, callbacks) != ("", "callbacks"):
            # Provider and path are not logged: they are not authenticated, and may hold a misplaced key.
            self.rejections.add(CallbackRejection.NOT_AUTHENTICATED, peer)
            return None
        if self._key_uses is not None:
            self._key_uses.record(provider, position, self._clock())
        route = self._routes.get((provider, path.lower()))
        if route is None or request.method != route.callback.method:
            self.rejections.add(
                CallbackRejection.PATH_UNKNOWN, peer, request_id=new_id(), provider=provider, method=request.method
            )
            return None
        return InboundCallback(new_id(), route, peer, self._clock())

    async def _admit(self, callback: InboundCallback, request: web.BaseRequest) -> CallbackOutcome:
        """Process it, unless its provider has too many in flight: then others would find no place."""
        provider = callback.route.provider
        if self._in_flight[provider.name] > provider.max_concurrent:
            self.rejections.add(CallbackRejection.PROVIDER_SHARE, callback.peer, provider=provider.name)
            return callback.route.try_again(f"more than {provider.max_concurrent} callbacks are in flight")
        return await self._traced(callback, self._receive_and_process(callback, request))

    async def _receive_and_process(self, callback: InboundCallback, request: web.BaseRequest) -> CallbackOutcome:
        route = callback.route
        try:
            async with asyncio.timeout(self.time_limit_s):
                body = await _read_body(request, self._body_limit)
                received = HttpRequest(
                    method=request.method,
                    path=f"/{route.path}",
                    query=tuple(request.query.items()) if request.query_string else (),
                    headers=_headers(request),
                    body=body,
                )
                if len(body) > self._body_limit:
                    return await self._processor.refuse_too_large(callback, received, self._body_limit)
                masked = await self._processor.with_request(callback, received)
                return await self._processor.process(masked, received)
        except TimeoutError:
            return route.try_again(f"no outcome within {self.time_limit_s} s")
        except RequestAborted as error:
            return route.try_again(str(error))
        except Exception as bug:  # noqa: BLE001 - a bug of the gateway must not cost a player a prize
            return route.try_again(f"the gateway failed, error id {log_unexpected_error(bug, route.provider.mask)}")

    def _traced(self, callback: InboundCallback, work: Awaitable[CallbackOutcome]) -> Awaitable[CallbackOutcome]:
        if self._traces is None:
            return work
        route = callback.route
        template = f"/callbacks/{route.provider.name}/{{callback_key}}/{route.path}"
        attributes: Attributes = {
            "http.request.method": route.callback.method,
            "http.route": template,
            "url.path": template.replace("{callback_key}", "***"),
            "client.address": callback.peer,
            "request_id": callback.id,
            "provider": route.provider.name,
        }
        name = f"{route.callback.method} {template}"
        return self._traces.callback(name, work, attributes=attributes, result=_span_result)

    def _report(self, callback: InboundCallback, outcome: CallbackOutcome, duration_s: float) -> None:
        route = callback.route
        (self._log.warning if outcome.is_try_again else self._log.info)(
            "callback",
            exchange_id=callback.id,
            provider=route.provider.name,
            path=route.path,
            peer=callback.peer,
            verdict=str(outcome),
            reference=outcome.reference,
            error=outcome.detail,
            duration_ms=round(duration_s * 1000, 1),
            **({} if outcome.age_s is None else {"age_s": round(outcome.age_s, 3)}),
        )
        if self._metrics is not None:
            self._metrics.callback(route.provider.name, route.path, str(outcome), seconds=duration_s)
            if outcome.age_s is not None:
                self._metrics.result_age(route.provider.name, outcome.age_s)


def _span_result(outcome: CallbackOutcome) -> SpanResult:
    attributes: Attributes = {"http.response.status_code": outcome.reply.status, "verdict": str(outcome)}
    return SpanResult(attributes, outcome.detail if outcome.is_try_again else "")


async def _read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The body as it was sent, never inflated; cut off one byte after the limit. Raises RequestAborted."""
    body = bytearray()
    try:
        if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(body) <= limit and not request.content.at_eof():
            body += await request.content.readany()
    except (ConnectionError, web.RequestPayloadError):
        raise RequestAborted("the body did not arrive whole") from None
    return bytes(body[: limit + 1])


def _headers(request: web.BaseRequest) -> Headers:
    # A header may hold any byte, and the journal takes only valid text.
    return tuple((name.decode(errors="replace"), value.decode(errors="replace")) for name, value in request.raw_headers)
