"""The demo's steps. Each makes calls, prints them, and checks the result."""

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

from gateway.cli.demo.environment import DemoEnvironment, SimulatedProvider, connect
from gateway.cli.demo.examples import Example
from gateway.cli.demo.printer import DemoPrinter
from gateway.cli.demo.processes import Addresses
from gateway.v1 import session_service_pb2 as pb
from gateway.v1 import wallet_service_pb2 as wallet

CALL_TIMEOUT_S = 2.0
STEP_TIMEOUT_S = 4 * CALL_TIMEOUT_S

CURRENCY = "USD"
OPENING_BALANCE = Decimal("99889.99")
WIN = Decimal("10.00")
DELIVERIES = 3


class CheckFailed(Exception):
    """A step had another result than expected."""


class StepFailed(Exception):
    """A step failed. The message says what happened instead."""

    def __init__(self, step: str, error: str) -> None:
        super().__init__(error)
        self.step = step


Step = tuple[str, Callable[[DemoPrinter, DemoEnvironment], Awaitable[None]]]


async def run_steps(printer: DemoPrinter, examples: Sequence[Example], addresses: Addresses) -> None:
    """Run all steps. Raises StepFailed at the first that fails."""
    title = "connect to the simulated providers"
    try:
        async with connect(examples, addresses) as environment:
            for title, run in _steps(environment):
                printer.step(title)
                async with asyncio.timeout(STEP_TIMEOUT_S):
                    await run(printer, environment)
    except grpc.aio.AioRpcError as error:
        raise StepFailed(title, f"the call failed with {error.code().name}: {error.details()}") from error
    except (CheckFailed, ClientError, TimeoutError) as error:
        raise StepFailed(title, str(error) or type(error).__name__) from error


def _steps(environment: DemoEnvironment) -> Iterator[Step]:
    """The steps in order, for the providers that are installed."""
    for provider in environment.providers:
        yield f"CloseSession through {provider.example.display_name}", partial(_close, provider)
    for provider in environment.providers:
        if not provider.example.accepts_clear_history:
            name = provider.example.display_name
            yield (
                f"CloseSession with clear_history, which {name} does not support, is rejected",
                partial(_reject, provider),
            )
            break
    for provider in environment.providers:
        name = provider.example.display_name
        if provider.example.expiry_path:
            yield f"{name} reports an expired session", partial(_expire, provider)
        if provider.example.result_path:
            yield (
                f"Auto Closing: {name} delivers one win {DELIVERIES} times, and it is credited once",
                partial(_credit_once, provider),
            )


async def _close(provider: SimulatedProvider, printer: DemoPrinter, environment: DemoEnvironment) -> None:
    request = _close_request(provider.example)
    printer.call("CloseSession", _fields(request))
    response = await environment.sessions.CloseSession(request, timeout=CALL_TIMEOUT_S)
    printer.exchange("gateway", provider.example.display_name, (await provider.received())[-1])
    printer.response(_fields(response))
    _check(response.outcome == pb.OUTCOME_CLOSED, f"the outcome is {pb.Outcome.Name(response.outcome)}, not CLOSED")
    open_sessions = {session["session_id"] for session in (await provider.control("sessions"))["sessions"]}
    session_id = provider.example.session_id
    _check(session_id not in open_sessions, f"session {session_id} is still open at the provider")
    printer.checked("the provider has closed the session; the response holds the provider's answer")


async def _reject(provider: SimulatedProvider, printer: DemoPrinter, environment: DemoEnvironment) -> None:
    received = len(await provider.received())
    request = _close_request(provider.example)
    request.clear_history = True
    printer.call("CloseSession", _fields(request))
    try:
        await environment.sessions.CloseSession(request, timeout=CALL_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        info = _error_info(error)
        printer.error(error.code().name, info.reason, dict(info.metadata), error.details() or "")
        _check(info.reason == "UNSUPPORTED_BY_PROVIDER", f"the reason is {info.reason}, not UNSUPPORTED_BY_PROVIDER")
    else:
        raise CheckFailed("the call succeeded, although the provider does not support clear_history")
    _check(len(await provider.received()) == received, "the provider received a request")
    printer.checked("the error names the unsupported field, and nothing was sent to the provider")


async def _expire(provider: SimulatedProvider, printer: DemoPrinter, environment: DemoEnvironment) -> None:
    subscription = await _subscribe(environment, provider, pb.EVENT_TYPE_SESSION_EXPIRED)
    session_id = await _open_session(provider)
    result = await provider.control("happen", {"expire": {"session_id": session_id}})
    _print_callbacks(printer, provider, result)
    event = await _next_event(subscription)
    printer.event(_fields(event))
    _check(event.session_id == session_id, f"the event is about session {event.session_id}, not {session_id}")
    printer.checked("the callback is answered in the provider's dialect, and a subscriber received the event")


async def _credit_once(provider: SimulatedProvider, printer: DemoPrinter, environment: DemoEnvironment) -> None:
    user_id = provider.example.user_id
    account = wallet.OpenAccountRequest(user_id=user_id, currency=CURRENCY, opening_balance=str(OPENING_BALANCE))
    printer.call("OpenAccount", _fields(account))
    printer.response(_fields(await environment.wallet.OpenAccount(account, timeout=CALL_TIMEOUT_S)))
    get_balance = wallet.GetBalanceRequest(user_id=user_id, currency=CURRENCY)
    before = Decimal((await environment.wallet.GetBalance(get_balance, timeout=CALL_TIMEOUT_S)).cash)
    subscription = await _subscribe(environment, provider, pb.EVENT_TYPE_RESULT_CREDITED)
    win = {
        "session_id": await _open_session(provider),
        "round_id": "5103188801",
        "reference": "585c1306f89c56f5ecfc2f5d",
        "currency": CURRENCY,
        "amount": str(WIN),
    }
    result = await provider.control("happen", {"win": win, "times": DELIVERIES})
    _print_callbacks(printer, provider, result)
    answers = [exchange["reply"]["body"] for exchange in result["exchanges"] if exchange["reply"]]
    _check(len(answers) == DELIVERIES, f"{len(answers)} of {DELIVERIES} deliveries were answered")
    _check(len(set(answers)) == 1, "the answers differ: each must name the same transaction and balance")
    printer.event(_fields(await _next_event(subscription)))
    balance = await environment.wallet.GetBalance(get_balance, timeout=CALL_TIMEOUT_S)
    printer.call("GetBalance", _fields(get_balance))
    printer.response(_fields(balance))
    _check(Decimal(balance.cash) == before + WIN, f"the balance is {balance.cash}, not {before + WIN}")
    printer.checked(f"delivered {DELIVERIES} times, credited once: {before} + {WIN} = {balance.cash}")


def _close_request(example: Example) -> pb.CloseSessionRequest:
    return pb.CloseSessionRequest(
        provider=example.adapter,
        user_id=example.user_id,
        session_id=example.session_id if example.closes_by_session else "",
        game_id=example.game_id if example.accepts_game else "",
        reason="self-exclusion",
    )


async def _open_session(provider: SimulatedProvider) -> str:
    """Open a session for one step. A close by user has ended the earlier ones."""
    example = provider.example
    session_id = f"session-{uuid4().hex[:8]}"
    session = {"session_id": session_id, "user_id": example.user_id, "game_id": example.game_id}
    await provider.control("sessions", session)
    return session_id


if TYPE_CHECKING:  # generic in the stubs only
    Subscription = grpc.aio.UnaryStreamCall[pb.WatchEventsRequest, pb.WatchEventsResponse]


async def _subscribe(
    environment: DemoEnvironment, provider: SimulatedProvider, event_type: pb.EventType
) -> "Subscription":
    request = pb.WatchEventsRequest(provider=provider.example.adapter, types=[event_type])
    call = environment.sessions.WatchEvents(request, timeout=STEP_TIMEOUT_S)
    await call.initial_metadata()
    return call


async def _next_event(subscription: "Subscription") -> pb.Event:
    response = await subscription.read()
    subscription.cancel()
    if not isinstance(response, pb.WatchEventsResponse):
        raise CheckFailed("the subscription ended before the event came")
    return response.event


def _print_callbacks(printer: DemoPrinter, provider: SimulatedProvider, result: dict[str, Any]) -> None:
    for exchange in result["exchanges"]:
        printer.exchange(provider.example.display_name, "gateway", exchange)


def _fields(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def _error_info(error: grpc.aio.AioRpcError) -> ErrorInfo:
    info = ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in Status.FromString(value).details:
                detail.Unpack(info)
    return info


def _check(passed: bool, failure: str) -> None:
    if not passed:
        raise CheckFailed(failure)
