"""One simulated provider as an HTTP server on the running event loop."""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import uuid4

import aiohttp
from aiohttp import web

from adapters.contract import Account, Attempt, HttpReply, HttpRequest
from adapters.simulation import Delivery, PlayerSession, SimulatedEvent, Simulator
from gateway.simulation.delivery import Exchange, head_of, send
from gateway.simulation.faults import DialectCode, Fault, Plan, Planned, Reset, ResetPoint, is_executed, next_fault
from gateway.simulation.wire_faults import fault_reply, reset, respond

StateT = TypeVar("StateT")

MAX_EXCHANGES = 10_000
"""Kept in each direction, so that a simulator in staging can run for weeks."""
MAX_REQUEST_BYTES = 16 * 1024 * 1024


class CallbackUrlMissing(Exception):
    """The simulator has no callback URL."""


class SimulatorHost(Generic[StateT]):
    """Gives a pure simulator a socket, a clock, and faults.

    `callback_url` is the gateway's URL for this provider, up to and including the callback key. It can be set later.
    All runs on one event loop, so each request sees the state that the one before it left.
    """

    def __init__(
        self,
        simulator: Simulator[StateT],
        account: Account[Any],
        sessions: Iterable[PlayerSession] = (),
        callback_url: str | None = None,
        *,
        faults: Iterable[Planned] = (),
        reply_timeout_s: float = 10.0,
    ) -> None:
        self.callback_url = callback_url
        self._simulator = simulator
        self._account = account
        self._reply_timeout_s = reply_timeout_s
        self._plan: Plan = tuple(faults)
        self._received: deque[Exchange] = deque(maxlen=MAX_EXCHANGES)
        self._sent: deque[Exchange] = deque(maxlen=MAX_EXCHANGES)
        self._attempts = itertools.count(1)
        self._request_received = asyncio.Event()
        self._has_pending = asyncio.Event()
        self._settled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._delivering = asyncio.Lock()
        self._base_url = ""
        self._resources = contextlib.AsyncExitStack()
        self._client: aiohttp.ClientSession | None = None
        self.restart(sessions)

    # --- the server -----------------------------------------------------------------------------------------------

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        routes: Iterable[web.AbstractRouteDef] = (),
        redeliver_every_s: float | None = None,
    ) -> int:
        """Listen, and return the port. Port 0 takes a free one. Raises OSError if the address cannot be used.

        `routes` are served next to the provider's endpoint, such as `control_routes(host)`. With `redeliver_every_s`,
        in seconds, pending callbacks are delivered again at this interval until they are settled.
        """
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.add_routes([*routes, web.route("*", "/{path:.*}", self._endpoint)])
        # With handler_cancellation, a handler that hangs ends with its client and with the server.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        self._resources.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, host, port).start()
        bound: int = runner.addresses[0][1]
        self._base_url = f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"
        # A new connection for each delivery: the gateway could close an idle one just when it is used again.
        connector = aiohttp.TCPConnector(force_close=True)
        self._client = aiohttp.ClientSession(connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        self._resources.push_async_callback(self._client.close)
        if redeliver_every_s is not None:
            self._resources.push_async_callback(_cancel, asyncio.create_task(self._redeliver(redeliver_every_s)))
        return bound

    async def stop(self) -> None:
        """Stop listening and delivering. The connections of requests that hang are reset."""
        self._stopping.set()
        await self._resources.aclose()

    @property
    def base_url(self) -> str:
        """The `base_url` of the provider in the gateway's configuration."""
        if not self._base_url:
            raise RuntimeError("the simulator is not listening; await start() first")
        return self._base_url

    async def _endpoint(self, received: web.Request) -> web.StreamResponse:
        fault, self._plan = next_fault(self._plan)
        head = head_of(received)
        if fault == Reset(ResetPoint.BEFORE):
            self._record(Exchange(head, None, str(fault)))
            return reset(received)
        request = HttpRequest(head.method, head.path, head.query, head.headers, await received.read())
        reply = self._answer(request, fault) if is_executed(fault) else fault_reply(fault)
        lost = isinstance(fault, Reset)
        self._record(Exchange(request, None if lost else reply, "" if fault is None else str(fault)))
        return await respond(received, reply, fault, self._stopping)

    def _answer(self, request: HttpRequest, fault: Fault | None) -> HttpReply:
        state = self._state
        if isinstance(fault, DialectCode):
            state = self._simulator.fail_with(state, fault.code)
        state, reply = self._simulator.answer(state, request)
        if isinstance(fault, DialectCode):
            state = self._simulator.fail_with(state, "")
        self._set_state(state)
        return reply

    def _record(self, exchange: Exchange) -> None:
        self._received.append(exchange)
        self._request_received.set()

    def _set_state(self, state: StateT) -> None:
        self._state = state
        if self._simulator.pending(state):
            self._has_pending.set()
            self._settled.clear()
        else:
            self._has_pending.clear()
            self._settled.set()

    # --- for tests, the demo and the control ------------------------------------------------------------------------

    @property
    def received(self) -> tuple[Exchange, ...]:
        """The requests received with their replies, oldest first, without those of the control."""
        return tuple(self._received)

    async def wait_received(self, count: int) -> None:
        """Wait until this many requests were received, answered or not."""
        while len(self._received) < count:
            self._request_received.clear()
            await self._request_received.wait()

    @property
    def sent(self) -> tuple[Exchange, ...]:
        """The callbacks delivered with their replies, oldest first."""
        return tuple(self._sent)

    @property
    def sessions(self) -> tuple[PlayerSession, ...]:
        """The open sessions."""
        return self._simulator.open_sessions(self._state)

    @property
    def pending(self) -> tuple[Delivery, ...]:
        """The callbacks that are not settled, oldest first."""
        return self._simulator.pending(self._state)

    def plan(self, *faults: Planned) -> None:
        """Replace the planned faults. They apply to the next requests, in this order."""
        self._plan = faults

    def restart(self, sessions: Iterable[PlayerSession]) -> None:
        """Replace the provider's state by a new one with these open sessions."""
        self._set_state(self._simulator.start(self._account, tuple(sessions)))

    def open_session(self, session: PlayerSession) -> None:
        """Open a session."""
        self._set_state(self._simulator.open_session(self._state, session))

    def emit(self, event: SimulatedEvent) -> tuple[Delivery, ...]:
        """Let an event happen at the provider. Returns the callbacks to deliver for it.

        Raises NotInThisDialect, and KeyError for a session that the simulator does not have.
        """
        before = {delivery.id for delivery in self.pending}
        attempt = Attempt(next(self._attempts), uuid4().hex, datetime.now(UTC))
        self._set_state(self._simulator.emit(self._state, event, attempt))
        return tuple(delivery for delivery in self.pending if delivery.id not in before)

    async def deliver(
        self, deliveries: Iterable[Delivery] | None = None, *, times: int = 1, at_once: bool = False
    ) -> tuple[Exchange, ...]:
        """Deliver these callbacks, or all pending ones, and return the exchanges in order.

        Each is sent `times` times, byte for byte the same, one after the other or `at_once`. The simulator gets the
        last reply and decides whether the callback is settled. Raises CallbackUrlMissing.
        """
        if times < 1:
            raise ValueError(f"a delivery is sent at least once, not {times} times")
        exchanges: list[Exchange] = []
        async with self._delivering:
            for delivery in self.pending if deliveries is None else deliveries:
                repeated = await self._send(delivery.request, times, at_once=at_once)
                exchanges += repeated
                # A delivery that is settled is sent as well, as providers do, but its reply changes nothing.
                unsettled = next((other for other in self.pending if other.id == delivery.id), None)
                if unsettled is not None:
                    self._set_state(self._simulator.on_reply(self._state, unsettled, repeated[-1].reply))
        return tuple(exchanges)

    async def wait_settled(self) -> None:
        """Wait until no callback is pending."""
        await self._settled.wait()

    async def _send(self, request: HttpRequest, times: int, *, at_once: bool) -> list[Exchange]:
        if self.callback_url is None:
            raise CallbackUrlMissing("the simulator has no callback URL; set the gateway's, with the callback key")
        if self._client is None:
            raise RuntimeError("the simulator is not running; await start() first")
        once = partial(send, self._client, self.callback_url.rstrip("/"), request, self._reply_timeout_s)
        if at_once:
            exchanges = await asyncio.gather(*(once() for _ in range(times)))
        else:
            exchanges = [await once() for _ in range(times)]
        self._sent.extend(exchanges)
        return exchanges

    async def _redeliver(self, interval_s: float) -> None:
        while True:
            await self._has_pending.wait()
            await asyncio.sleep(interval_s)
            if self.callback_url is not None:
                await self.deliver()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
