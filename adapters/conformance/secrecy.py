"""Checks: no token is logged, raised or kept in the journal."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace

from adapters.conformance import wire
from adapters.conformance.case import ACCOUNT_MARKER, CALL_MARKER, Case, result_of
from adapters.conformance.simulator_callbacks import WIN, simulated_callbacks
from adapters.contract import AdapterRefusal, CallbackRefused, HttpReply, HttpRequest, Secret
from adapters.golden import CallbackGolden
from adapters.simulation import Expire

MARKERS = (ACCOUNT_MARKER, CALL_MARKER)


def secrets_are_not_exposed(case: Case) -> None:
    """No token is in the repr of a request or an answer, nor in a refusal, even where the provider echoes it."""
    for what, value in (*_of_calls(case), *_of_replies(case), *_of_callbacks(case)):
        for text in _texts(value):
            if any(marker in text for marker in MARKERS):
                raise case.failure(
                    f"{what} shows a token",
                    got=text,
                    fix="Keep values of the message out of error texts and causes (`from None`), and use sanitize_text"
                    " for the provider's texts.",
                )


def _of_calls(case: Case) -> Iterator[tuple[str, object]]:
    """The requests or refusals of `encode`, with markers as tokens that can and that cannot be sent."""
    close = case.adapter.close_session
    for golden in case.goldens:
        if close is None or isinstance(golden, CallbackGolden):
            continue
        for suffix in ("", " é\u2028"):
            account = replace(golden.account, token=Secret(ACCOUNT_MARKER + suffix))
            for token in (None, Secret(CALL_MARKER + suffix)):
                call = replace(golden.call, token=token)
                got = result_of(close.encode, account, call, golden.attempt)
                yield "a refusal of encode" if isinstance(got, AdapterRefusal) else "a request", got


def _of_replies(case: Case) -> Iterator[tuple[str, object]]:
    """The results of `decode` for replies that echo the account's token in each of their values."""
    for close, golden in case.sent:
        account = replace(golden.account, token=Secret(ACCOUNT_MARKER))
        for body in wire.echoing(golden.reply.body, f"x{ACCOUNT_MARKER}y"):
            for status in {golden.reply.status, 200, 400, 401, 404, 500}:
                got = result_of(close.decode, account, HttpReply(status, (("X-Echo", ACCOUNT_MARKER),), body))
                yield "a refusal of decode" if isinstance(got, AdapterRefusal) else "a success", got


def _of_callbacks(case: Case) -> Iterator[tuple[str, object]]:
    """The results of callbacks that have the account's token where the goldens have theirs."""
    for path, callback in case.adapter.callbacks.items():
        goldens = [golden for _, golden in case.callbacks if golden.operation == path]
        bodies = [_with_marker(golden) for golden in goldens]
        for golden in goldens[:1]:
            account = replace(golden.account, token=Secret(ACCOUNT_MARKER))
            for body in (*bodies, *(body[:-1] for body in bodies), *wire.malformed_variants(bodies)):
                request = replace(golden.request, body=body)
                for got in (result_of(callback.verify, account, request), result_of(callback.decode, account, request)):
                    yield "a refused callback" if isinstance(got, CallbackRefused) else "a notification", got
        for golden in goldens:
            account = replace(golden.account, token=Secret(ACCOUNT_MARKER))
            yield "an answer", callback.encode_reply(account, golden.answer)


def _with_marker(golden: CallbackGolden) -> bytes:
    """The callback's body with a marker in place of the account's token."""
    token = golden.account.token.reveal() if golden.account.token else ""
    return golden.request.body.replace(token.encode(), ACCOUNT_MARKER.encode()) if token else golden.request.body


def _texts(value: object) -> Iterator[str]:
    """Every text of a value that a log or a traceback may show."""
    yield from (repr(value), str(value))
    if isinstance(value, BaseException):
        yield from (repr(value.args), repr(vars(value)))
        while (cause := _cause(value)) is not None:
            yield str(cause)
            value = cause


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def secrets_are_declared(case: Case) -> None:
    """The adapter's `masked` covers every place that has a token, in requests and in callbacks."""
    requests = ((what, value) for what, value in _of_calls(case) if isinstance(value, HttpRequest))
    for what, request in (*requests, *_deliveries(case)):
        kept = wire.masked(request, case.adapter.masked)
        places = {"the path": kept.path, "the body": kept.body.decode(errors="replace")}
        places |= {f"the header {name}": value for name, value in kept.headers}
        places |= {f"the query's {name}": value for name, value in kept.query}
        for place, text in places.items():
            if any(spelling in text for marker in MARKERS for spelling in _spellings(marker)):
                raise case.failure(
                    f"{place} of {what} has a token, and `masked` does not cover it",
                    fix="Add the header's or the field's name to ADAPTER.masked; a path cannot be masked.",
                )


def _spellings(marker: str) -> Iterator[str]:
    """The marker as it is, and the part of it that any base64 with it inside must have."""
    yield marker
    for before in range(3):
        coded = b64encode(b"x" * before + marker.encode()).decode()
        yield coded[4 if before else 0 : len(coded) - 4]


def _deliveries(case: Case) -> Iterator[tuple[str, HttpRequest]]:
    """What the simulated provider sends to an account whose token is a marker."""
    for event in (Expire(WIN.session_id), WIN):
        for callback in simulated_callbacks(case, event):
            yield f"the callback {callback.path}", callback.delivery.request


CHECKS = (secrets_are_not_exposed, secrets_are_declared)
