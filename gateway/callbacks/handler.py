"""The path of a callback, in order: authenticate, receive, process within the time limit, log, reply.

It serves `POST /callbacks/{provider}/{key}/{the dialect's path}`. Unauthenticated callers and unknown paths get a 404
and nothing else. Every other callback gets HTTP 200 in its own dialect, in time, whatever happened.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from time import monotonic

import structlog
from aiohttp import HttpVersion11, web

from adapters.contract import CallbackFault, CallbackRefused, Headers, HttpReply, HttpRequest
from gateway.callbacks.auth import CallbackAuthenticator
from gateway.callbacks.processor import CallbackProcessor
from gateway.callbacks.response import BufferedResponse
from gateway.callbacks.routing import CallbackOutcome, InboundCallback, Routes
from gateway.store.ids import new_id
from gateway.telemetry.errors import log_unexpected_error
from gateway.telemetry.logs import bind
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Attributes, SpanResult, Tracer

log = structlog.get_logger(__name__)

BODY_LIMIT = 1024 * 1024
"""Bytes."""

TIME_LIMIT_S = 3.2
"""Seconds from a callback's head to its reply. Providers are known to wait four by their own clock: the rest is for the
network, and for an event loop that is busy with a thousand others.
"""

_NOT_FOUND = HttpReply(404)
"""The same for each unauthenticated caller and each unknown path."""


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
        metrics: Metrics | None = None,
        traces: Tracer | None = None,
    ) -> None:
        self._routes = routes
        self._authenticator = authenticator
        self._processor = processor
        self._clock = clock
        self._body_limit = body_limit
        self.time_limit_s = time_limit_s
        self._metrics = metrics
        self._traces = traces
        self._log = log.bind()  # a module's logger is bound again at each line

    def replace(self, routes: Routes, authenticator: CallbackAuthenticator, body_limit: int) -> None:
        """Use these from the next request on. An authenticated request continues with its route."""
        self._routes, self._authenticator, self._body_limit = routes, authenticator, body_limit

    async def handle(self, request: web.BaseRequest) -> BufferedResponse:
        """Reply to one request. If the caller disconnects after its body, the callback is still processed."""
        started = monotonic()
        try:
            callback = self._authenticate(request)
        except Exception as bug:  # noqa: BLE001 - a check that fails admits no caller
            log_unexpected_error(bug)
            callback = None
        if callback is None:
            return BufferedResponse(request, _NOT_FOUND)
        bind(request_id=callback.id, provider=callback.route.provider.name)  # each request has its own task
        outcome = await self._traced(callback, self._receive_and_process(callback, request))
        self._report(callback, outcome, monotonic() - started)
        return BufferedResponse(request, outcome.reply)

    def _authenticate(self, request: web.BaseRequest) -> InboundCallback | None:
        root, callbacks, provider, key, path = (*request.path.split("/", 4), "", "", "", "")[:5]
        caller = self._authenticator.caller(request.remote, request.headers.getall("X-Forwarded-For", ()))
        peer = str(caller or request.remote or "")
        if not self._authenticator.authorize(provider, key, caller) or (root, callbacks) != ("", "callbacks"):
            # Provider and path are not logged: they are not authenticated, and may hold a misplaced key.
            log.info("callback rejected", peer=peer)
            return None
        route = self._routes.get((provider, path.lower()))
        if route is None or request.method != route.callback.method:
            method = request.method
            log.info("callback path unknown", request_id=new_id(), peer=peer, provider=provider, method=method)
            return None
        return InboundCallback(new_id(), route, peer, self._clock())

    async def _receive_and_process(self, callback: InboundCallback, request: web.BaseRequest) -> CallbackOutcome:
        route = callback.route
        try:
            async with asyncio.timeout(self.time_limit_s):
                body, refused = await _read_body(request, self._body_limit)
                received = HttpRequest(
                    method=request.method,
                    path=f"/{route.path}",
                    query=tuple(request.query.items()) if request.query_string else (),
                    headers=_headers(request),
                    body=body,
                )
                return await self._processor.process(callback.with_request(received), refused or received)
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


async def _read_body(request: web.BaseRequest, limit: int) -> tuple[bytes, CallbackRefused | None]:
    """The body as it was sent, never inflated; or its refusal, if it is too large. Raises RequestAborted."""
    body = bytearray()
    try:
        if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not request.content.at_eof():
            body += await request.content.readany()
            if len(body) > limit:
                message = f"the body is larger than {limit} bytes and is not stored"
                return b"", CallbackRefused(CallbackFault.UNREADABLE, message)
    except (ConnectionError, web.RequestPayloadError):
        raise RequestAborted("the body did not arrive whole") from None
    return bytes(body), None


def _headers(request: web.BaseRequest) -> Headers:
    # A header may hold any byte, and the journal takes only valid text.
    return tuple((name.decode(errors="replace"), value.decode(errors="replace")) for name, value in request.raw_headers)
