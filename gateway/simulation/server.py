"""One simulated provider as a real HTTP server on the running event loop."""

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
from gateway.simulation.faults import DialectCode, Fault, Plan, Planned, Reset, ResetPoint, is_carried_out, next_fault
from gateway.simulation.wire_faults import fault_reply, reset, respond

StateT = TypeVar("StateT")

_KEPT_EXCHANGES = 10_000
"""In each direction, so that a simulator in a team's staging can run for weeks."""
_LARGEST_REQUEST = 16 * 1024 * 1024


class NowhereToDeliver(Exception):
    """The simulator does not know our callback URL."""


class SimulatorHost(Generic[StateT]):
    """Gives a pure simulator its socket, its clock, and its faults.

    `callback_url` is our URL up to and including the callback key; it can be set later, once it is known. Everything
    happens on one event loop, so that each request sees the state that the one before it left.
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
        self._reply_timeout_s = reply_timeout_s
        self._plan: Plan = tuple(faults)
        self._received: deque[Exchange] = deque(maxlen=_KEPT_EXCHANGES)
        self._sent: deque[Exchange] = deque(maxlen=_KEPT_EXCHANGES)
        self._attempts = itertools.count(1)
        self._arrival = asyncio.Event()
        self._pending = asyncio.Event()
        self._settled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._delivering = asyncio.Lock()
        self._base_url = ""
        self._open = contextlib.AsyncExitStack()
        self._client: aiohttp.ClientSession | None = None
        self._set_state(simulator.start(account, tuple(sessions)))

    # --- the server -----------------------------------------------------------------------------------------------

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        routes: Iterable[web.AbstractRouteDef] = (),
        redeliver_every_s: float | None = None,
    ) -> int:
        """Listen, and answer the port; port 0 lets the system choose one. Raises OSError where it cannot be had.

        `routes` are served beside the provider's endpoint, such as `control_routes(host)`. With `redeliver_every_s`
        what is due is delivered again and again, at this interval, until it is settled.
        """
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.add_routes([*routes, web.route("*", "/{path:.*}", self._endpoint)])
        # A handler that hangs ends with its caller, and with the server.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        self._open.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, host, port).start()
        bound: int = runner.addresses[0][1]
        self._base_url = f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"
        # A new connection for each delivery: a kept one can be closed by us just when the provider uses it again.
        connector = aiohttp.TCPConnector(force_close=True)
        self._client = aiohttp.ClientSession(connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        self._open.push_async_callback(self._client.close)
        if redeliver_every_s is not None:
            self._open.push_async_callback(_ended, asyncio.create_task(self._redeliver(redeliver_every_s)))
        return bound

    async def stop(self) -> None:
        """Stop listening and delivering. Requests that hang are let go with a reset."""
        self._stopping.set()
        await self._open.aclose()

    @property
    def base_url(self) -> str:
        """What a provider's `base_url` has to be, so that the gateway calls this simulator."""
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
        reply = self._answer(request, fault) if is_carried_out(fault) else fault_reply(fault)
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
        self._arrival.set()

    def _set_state(self, state: StateT) -> None:
        self._state = state
        if self._simulator.pending(state):
            self._pending.set()
            self._settled.clear()
        else:
            self._pending.clear()
            self._settled.set()

    # --- what a test, the demo or a person asks of it ---------------------------------------------------------------

    @property
    def received(self) -> tuple[Exchange, ...]:
        """What it was asked and what it answered, oldest first, control requests left out."""
        return tuple(self._received)

    async def arrived(self, count: int) -> None:
        """Wait until so many requests were received, answered or not."""
        while len(self._received) < count:
            self._arrival.clear()
            await self._arrival.wait()

    @property
    def sent(self) -> tuple[Exchange, ...]:
        """What it delivered and what it was answered, oldest first."""
        return tuple(self._sent)

    @property
    def sessions(self) -> tuple[PlayerSession, ...]:
        """The sessions that are open."""
        return self._simulator.open_sessions(self._state)

    @property
    def due(self) -> tuple[Delivery, ...]:
        """What is still to be delivered, oldest first."""
        return self._simulator.pending(self._state)

    def plan(self, *faults: Planned) -> None:
        """Let these faults befall the next requests, in this order, instead of those planned before; none: no more."""
        self._plan = faults

    def open_session(self, session: PlayerSession) -> None:
        """A player begins to play."""
        self._set_state(self._simulator.open_session(self._state, session))

    async def emit(self, happening: SimulatedEvent) -> tuple[Delivery, ...]:
        """Let something happen at the provider; answers the callbacks that are to be delivered for it.

        Raises NotInThisDialect, and KeyError for a session that the simulator does not know.
        """
        before = {delivery.id for delivery in self.due}
        attempt = Attempt(next(self._attempts), uuid4().hex, datetime.now(UTC))
        self._set_state(self._simulator.emit(self._state, happening, attempt))
        return tuple(delivery for delivery in self.due if delivery.id not in before)

    async def deliver(
        self, deliveries: Iterable[Delivery] | None = None, *, times: int = 1, at_once: bool = False
    ) -> tuple[Exchange, ...]:
        """Deliver these, or all that is due, and answer the exchanges in order; a reply is None where there was none.

        Each is sent `times` times, byte for byte the same, one after the other or `at_once`. The simulator hears the
        last of its replies, and decides whether it is settled. Raises NowhereToDeliver without a `callback_url`.
        """
        if times < 1:
            raise ValueError(f"a delivery is sent at least once, not {times} times")
        exchanges: list[Exchange] = []
        async with self._delivering:
            for delivery in self.due if deliveries is None else deliveries:
                several = await self._send(delivery.request, times, at_once=at_once)
                exchanges += several
                # What was settled in the meantime is sent all the same, as providers do, but is not heard of again.
                known = next((other for other in self.due if other.id == delivery.id), None)
                if known is not None:
                    self._set_state(self._simulator.on_reply(self._state, known, several[-1].reply))
        return tuple(exchanges)

    async def settled(self) -> None:
        """Wait until nothing is due any more."""
        await self._settled.wait()

    async def _send(self, request: HttpRequest, times: int, *, at_once: bool) -> list[Exchange]:
        if self.callback_url is None:
            raise NowhereToDeliver("the simulator has no callback URL; give it the gateway's, with the callback key")
        if self._client is None:
            raise RuntimeError("the simulator is not running; await start() first")
        once = partial(send, self._client, self.callback_url.rstrip("/"), request, self._reply_timeout_s)
        if at_once:
            exchanges = await asyncio.gather(*(once() for _ in range(times)))
        else:
            exchanges = [await once() for _ in range(times)]
        self._sent.extend(exchanges)
        return exchanges

    async def _redeliver(self, every_s: float) -> None:
        while True:
            await self._pending.wait()
            await asyncio.sleep(every_s)
            if self.callback_url is not None:
                await self.deliver()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
