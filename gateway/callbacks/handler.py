"""The one HTTP handler of all providers' callbacks: `POST /callbacks/{provider}/{key}/{the dialect's path}`.

Who has no business here gets a 404 and nothing else. Whoever has is answered HTTP 200 in its own dialect, in time,
whatever happened.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import msgspec
import structlog
from aiohttp import HttpVersion11, web

from adapters.contract import CallbackFault, CallbackRefused, Headers, HttpReply, HttpRequest, Rejected
from gateway.callbacks.auth import CallbackAuthenticator
from gateway.callbacks.processor import CallbackProcessor
from gateway.callbacks.response import BufferedResponse
from gateway.callbacks.routing import CallbackOutcome, InboundCallback, Route, Routes
from gateway.store.ids import new_id
from gateway.store.models import Message
from gateway.telemetry.errors import log_unexpected_error
from gateway.telemetry.logs import bind
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Attributes, SpanResult

if TYPE_CHECKING:
    from gateway.telemetry.otel import OtelTracer

log = structlog.get_logger(__name__)

BODY_LIMIT = 1024 * 1024
"""Bytes."""

TIME_LIMIT_S = 3.2
"""Seconds for a callback from its head to its answer. Providers are known to wait four, counted at their end: the rest
is for the way, and for a loop that is busy with a thousand others.
"""


_NOT_FOUND = HttpReply(404)
"""All that a stranger learns."""


class RequestAborted(Exception):
    """The caller left before its body was here, or framed it wrongly."""


class _AuthenticatedRequest(msgspec.Struct, frozen=True):
    """A request that came through the door."""

    route: Route
    peer: str
    id: str
    started_at: datetime


class CallbackHandler:
    """Admits, receives, has it judged, answers; one line in the log each, and one count where there are metrics."""

    def __init__(
        self,
        routes: Routes,
        guard: CallbackAuthenticator,
        judge: CallbackProcessor,
        clock: Callable[[], datetime],
        *,
        body_limit: int = BODY_LIMIT,
        time_limit_s: float = TIME_LIMIT_S,
        metrics: Metrics | None = None,
        traces: "OtelTracer | None" = None,
    ) -> None:
        self._routes = routes
        self._guard = guard
        self._judge = judge
        self._clock = clock
        self._body_limit = body_limit
        self.time_limit_s = time_limit_s
        self._metrics = metrics
        self._traces = traces
        self._log = log.bind()  # a logger of a module is bound anew at each line

    def replace(self, routes: Routes, guard: CallbackAuthenticator, body_limit: int) -> None:
        """Serve these from the next request on; one that came through the door goes on as it began."""
        self._routes, self._guard, self._body_limit = routes, guard, body_limit

    async def handle(self, request: web.BaseRequest) -> BufferedResponse:
        """Answer one request. Goes on when the caller has left: what it told is carried out and kept."""
        begun = monotonic()
        try:
            admission = self._admit(request)
        except Exception as bug:  # noqa: BLE001 - a door that fails stays shut
            log_unexpected_error(bug)
            admission = None
        if admission is None:
            return BufferedResponse(request, _NOT_FOUND)
        bind(request_id=admission.id, provider=admission.route.provider.name)  # a request has a task of its own
        verdict = await self._traced(admission, self._verdict_in_time(admission, request))
        seconds = monotonic() - begun
        self._log_verdict(admission, verdict, seconds)
        if self._metrics is not None:
            self._metrics.callback(admission.route.provider.name, admission.route.path, str(verdict), seconds=seconds)
        return BufferedResponse(request, verdict.reply)

    def _traced(self, admission: _AuthenticatedRequest, work: Awaitable[CallbackOutcome]) -> Awaitable[CallbackOutcome]:
        if self._traces is None:
            return work
        route = admission.route
        template = f"/callbacks/{route.provider.name}/{{callback_key}}/{route.path}"
        attributes: Attributes = {
            "http.request.method": route.callback.method,
            "http.route": template,
            "url.path": template.replace("{callback_key}", "***"),
            "client.address": admission.peer,
            "request_id": admission.id,
            "provider": route.provider.name,
        }
        return self._traces.callback(
            f"{route.callback.method} {template}", work, attributes=attributes, result=partial(_told_of, route)
        )

    def _admit(self, request: web.BaseRequest) -> _AuthenticatedRequest | None:
        root, callbacks, provider, key, path = (*request.path.split("/", 4), "", "", "", "")[:5]
        caller = self._guard.caller(request.remote, request.headers.getall("X-Forwarded-For", ()))
        peer = str(caller or request.remote or "")
        if not self._guard.authorize(provider, key, caller) or (root, callbacks) != ("", "callbacks"):
            # Neither provider nor path are logged: a stranger wrote them, or a key stands in the wrong place.
            log.info("callback turned away", peer=peer)
            return None
        route = self._routes.get((provider, path.lower()))
        if route is None or request.method != route.callback.method:
            log.info(
                "callback not in the dialect", request_id=new_id(), peer=peer, provider=provider, method=request.method
            )
            return None
        return _AuthenticatedRequest(route, peer, new_id(), self._clock())

    async def _verdict_in_time(self, admission: _AuthenticatedRequest, request: web.BaseRequest) -> CallbackOutcome:
        route = admission.route
        try:
            async with asyncio.timeout(self.time_limit_s):
                return await self._judge.process(await self._receive(admission, request))
        except TimeoutError:
            return route.try_again(f"no outcome within {self.time_limit_s} s")
        except RequestAborted as error:
            return route.try_again(str(error))
        except Exception as bug:  # noqa: BLE001 - a bug, ours or the adapter's, must cost nobody a prize
            return route.try_again(f"the gateway failed, error id {log_unexpected_error(bug, route.provider.mask)}")

    async def _receive(self, admission: _AuthenticatedRequest, request: web.BaseRequest) -> InboundCallback:
        body, refused = b"", None
        try:
            body = await _read_body(request, self._body_limit)
        except CallbackRefused as error:
            refused = error
        mask = admission.route.provider.mask
        headers = _headers(request)
        return InboundCallback(
            id=admission.id,
            route=admission.route,
            peer=admission.peer,
            started_at=admission.started_at,
            request=HttpRequest(
                method=request.method,
                path=f"/{admission.route.path}",
                query=tuple(request.query.items()) if request.query_string else (),
                headers=headers,
                body=body,
            ),
            kept=Message(mask.head(headers), mask.body(body)),
            refused=refused,
        )

    def _log_verdict(self, admission: _AuthenticatedRequest, verdict: CallbackOutcome, seconds: float) -> None:
        mask = admission.route.provider.mask
        ours = isinstance(verdict.answer, Rejected) and verdict.answer.fault is CallbackFault.TRY_AGAIN
        (self._log.warning if ours else self._log.info)(
            "callback",
            exchange_id=admission.id,
            provider=admission.route.provider.name,
            path=admission.route.path,
            peer=admission.peer,
            verdict=str(verdict),
            reference=mask.text(verdict.reference),
            detail=mask.text(verdict.detail),
            duration_ms=round(seconds * 1000, 1),
        )


def _told_of(route: Route, verdict: CallbackOutcome) -> SpanResult:
    attributes: Attributes = {"http.response.status_code": verdict.reply.status, "verdict": str(verdict)}
    ours = isinstance(verdict.answer, Rejected) and verdict.answer.fault is CallbackFault.TRY_AGAIN
    return SpanResult(attributes, route.provider.mask.text(verdict.detail) if ours else "")


async def _read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The body as it travelled, never inflated. Raises CallbackRefused and NotReceived."""
    body = bytearray()
    try:
        if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not request.content.at_eof():
            body += await request.content.readany()
            if len(body) > limit:
                raise CallbackRefused(
                    CallbackFault.UNREADABLE, f"the body is larger than {limit} bytes; it is not kept"
                )
    except (ConnectionError, web.RequestPayloadError):
        raise RequestAborted("the body did not arrive whole") from None
    return bytes(body)


def _headers(request: web.BaseRequest) -> Headers:
    # Any byte can come in a header; half a character could be written to no journal.
    return tuple((name.decode(errors="replace"), value.decode(errors="replace")) for name, value in request.raw_headers)
