"""The demo's steps: each shows what travelled and checks it. What was not observed raises NotObserved."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
from aiohttp import ClientError
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from gateway.cli.demo.children import Started
from gateway.cli.demo.environment import DemoEnvironment, Simulated, world
from gateway.cli.demo.examples import Example
from gateway.cli.demo.printer import DemoPrinter, StepFailed
from gateway.v1 import session_service_pb2 as pb
from gateway.v1 import wallet_service_pb2 as wallet

CALL_S = 2.0
"""The deadline of the demo's calls, in seconds."""

CURRENCY = "USD"
OPENING = Decimal("99889.99")
WIN = Decimal("10.00")
DELIVERIES = 3


class NotObserved(Exception):
    """What the step is there to show did not happen."""


Step = tuple[str, Callable[[DemoPrinter, DemoEnvironment], Awaitable[None]]]


async def perform(stage: DemoPrinter, examples: Sequence[Example], started: Started) -> None:
    """Go through the steps. Raises StepFailed at the first that does not show what it is there to show."""
    step = "reaching the simulated providers"
    try:
        async with world(examples, started) as running:
            for step, act in steps(running):
                stage.step(step)
                async with asyncio.timeout(4 * CALL_S):
                    await act(stage, running)
    except grpc.aio.AioRpcError as error:
        raise StepFailed(step, f"the call failed with {error.code().name}: {error.details()}") from error
    except (NotObserved, ClientError, TimeoutError) as error:
        raise StepFailed(step, str(error) or type(error).__name__) from error


def steps(world: DemoEnvironment) -> Iterator[Step]:
    """The steps in order, for the providers that there are."""
    for provider in world.providers:
        yield f"a close through {provider.example.display_name}", partial(_close, provider)
    for provider in world.providers:
        if not provider.example.accepts_clear_history:
            name = provider.example.display_name
            yield f"a close that {name} cannot express is refused, and nothing is sent", partial(_refused, provider)
            break
    for provider in world.providers:
        name = provider.example.display_name
        if provider.example.expiry_path:
            yield f"{name} says that a session expired", partial(_expired, provider)
        if provider.example.result_path:
            yield f"Auto Closing: {name} delivers one win {DELIVERIES} times", partial(_paid_once, provider)


async def _close(provider: Simulated, stage: DemoPrinter, world: DemoEnvironment) -> None:
    request = _close_request(provider)
    stage.call("CloseSession", _shown(request))
    response = await world.sessions.CloseSession(request, timeout=CALL_S)
    exchange = (await provider.received())[-1]
    stage.exchange("gateway", provider.example.display_name, exchange)
    stage.answer(_shown(response))
    _expect(response.outcome == pb.OUTCOME_CLOSED, f"the outcome is {pb.Outcome.Name(response.outcome)}, not CLOSED")
    open_still = {session["session_id"] for session in (await provider.ask("sessions"))["sessions"]}
    closed = provider.example.session_id
    _expect(closed not in open_still, f"the provider still has {closed} open")
    stage.observed("the provider has closed it, and the microservice has the provider's own answer as evidence")


async def _refused(provider: Simulated, stage: DemoPrinter, world: DemoEnvironment) -> None:
    before = len(await provider.received())
    request = _close_request(provider)
    request.clear_history = True
    stage.call("CloseSession", _shown(request))
    try:
        await world.sessions.CloseSession(request, timeout=CALL_S)
    except grpc.aio.AioRpcError as error:
        info = _error_info(error)
        stage.refusal(error.code().name, info.reason, dict(info.metadata), error.details() or "")
        _expect(info.reason == "UNSUPPORTED_BY_PROVIDER", f"the reason is {info.reason}")
    else:
        raise NotObserved("the call succeeded, and must not: the dialect has no way to say clear_history")
    _expect(len(await provider.received()) == before, "the provider received something")
    stage.observed("the caller knows why, and that nothing was sent")


async def _expired(provider: Simulated, stage: DemoPrinter, world: DemoEnvironment) -> None:
    subscription = await _subscribe(world, provider, pb.EVENT_TYPE_SESSION_EXPIRED)
    session_id = await _open_session(provider)
    told = await provider.ask("happen", {"expire": {"session_id": session_id}})
    _show_callbacks(stage, provider, told)
    event = await _next(subscription)
    stage.event(_shown(event))
    _expect(event.session_id == session_id, f"the event is about session {event.session_id}, not {session_id}")
    stage.observed("the callback is answered in the provider's words, and the event has reached a subscriber")


async def _paid_once(provider: Simulated, stage: DemoPrinter, world: DemoEnvironment) -> None:
    user_id = provider.example.user_id
    account = wallet.OpenAccountRequest(user_id=user_id, currency=CURRENCY, opening_balance=str(OPENING))
    stage.call("OpenAccount", _shown(account))
    stage.answer(_shown(await world.wallet.OpenAccount(account, timeout=CALL_S)))
    question = wallet.GetBalanceRequest(user_id=user_id, currency=CURRENCY)
    before = Decimal((await world.wallet.GetBalance(question, timeout=CALL_S)).cash)
    subscription = await _subscribe(world, provider, pb.EVENT_TYPE_RESULT_CREDITED)
    win = {
        "session_id": await _open_session(provider),
        "round_id": "5103188801",
        "reference": "585c1306f89c56f5ecfc2f5d",
        "currency": CURRENCY,
        "amount": str(WIN),
    }
    told = await provider.ask("happen", {"win": win, "times": DELIVERIES})
    _show_callbacks(stage, provider, told)
    bodies = [exchange["reply"]["body"] for exchange in told["exchanges"] if exchange["reply"]]
    _expect(len(bodies) == DELIVERIES, f"{len(bodies)} of {DELIVERIES} deliveries were answered")
    _expect(len(set(bodies)) == 1, "the answers differ: each must name the one transaction and the balance")
    stage.event(_shown(await _next(subscription)))
    balance = await world.wallet.GetBalance(question, timeout=CALL_S)
    stage.call("GetBalance", _shown(question))
    stage.answer(_shown(balance))
    _expect(Decimal(balance.cash) == before + WIN, f"the balance is {balance.cash}, not {before + WIN}")
    stage.observed(f"delivered {DELIVERIES} times, paid once: {before} + {WIN} = {balance.cash}")


def _close_request(provider: Simulated) -> pb.CloseSessionRequest:
    example = provider.example
    return pb.CloseSessionRequest(
        provider=example.adapter,
        user_id=example.user_id,
        session_id=example.session_id if example.closes_by_session else "",
        game_id=example.game_id if example.accepts_game else "",
        reason="self-exclusion",
    )


async def _open_session(provider: Simulated) -> str:
    """A session of its own for a step, for a close by user has ended those that were open."""
    example = provider.example
    session_id = f"session-{uuid4().hex[:8]}"
    await provider.ask("sessions", {"session_id": session_id, "user_id": example.user_id, "game_id": example.game_id})
    return session_id


if TYPE_CHECKING:  # generic in the stubs only
    Subscription = grpc.aio.UnaryStreamCall[pb.WatchEventsRequest, pb.WatchEventsResponse]


async def _subscribe(world: DemoEnvironment, provider: Simulated, kind: pb.EventType) -> "Subscription":
    call = world.sessions.WatchEvents(
        pb.WatchEventsRequest(provider=provider.example.adapter, types=[kind]), timeout=4 * CALL_S
    )
    await call.initial_metadata()
    return call


async def _next(subscription: "Subscription") -> pb.Event:
    response = await subscription.read()
    subscription.cancel()
    if not isinstance(response, pb.WatchEventsResponse):
        raise NotObserved("the subscription ended before the event came")
    return response.event


def _show_callbacks(stage: DemoPrinter, provider: Simulated, told: dict[str, Any]) -> None:
    for exchange in told["exchanges"]:
        stage.exchange(provider.example.display_name, "gateway", exchange)


def _shown(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def _error_info(error: grpc.aio.AioRpcError) -> ErrorInfo:
    info = ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in Status.FromString(value).details:
                detail.Unpack(info)
    return info


def _expect(held: bool, otherwise: str) -> None:
    if not held:
        raise NotObserved(otherwise)
