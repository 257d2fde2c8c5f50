"""Checks: no secret shows in anything that is logged, raised or kept."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace

from adapters.conformance import wire
from adapters.conformance.case import ACCOUNT_MARKER, CALL_MARKER, Subject
from adapters.conformance.simulator_callbacks import WIN, told
from adapters.contract import (
    AdapterRefusal,
    CallbackRefused,
    HttpReply,
    HttpRequest,
    Secret,
)
from adapters.golden import CallbackGolden
from adapters.simulation import Expire

MARKERS = (ACCOUNT_MARKER, CALL_MARKER)


def no_secret_shows(subject: Subject) -> None:
    """No token is in the repr of a request or an answer, nor in a refusal, even where the provider echoes it."""
    for what, value in (*_of_calls(subject), *_of_replies(subject), *_of_callbacks(subject)):
        for text in _texts(value):
            if any(marker in text for marker in MARKERS):
                raise subject.failure(
                    f"a token shows in {what}",
                    got=text,
                    mend="Keep values of the wire out of messages and causes (`from None`), and strike the account's"
                    " token from what the provider says.",
                )


def _of_calls(subject: Subject) -> Iterator[tuple[str, object]]:
    """What the encoder makes or refuses, with markers as tokens, fit and unfit for the wire."""
    close = subject.adapter.close_session
    for golden in subject.goldens:
        if close is None or isinstance(golden, CallbackGolden):
            continue
        for suffix in ("", " é\u2028"):
            token, own = Secret(ACCOUNT_MARKER + suffix), Secret(CALL_MARKER + suffix)
            account = replace(golden.account, token=token)
            for call in (replace(golden.call, token=None), replace(golden.call, token=own)):
                try:
                    yield "a request", close.encode(account, call, golden.attempt)
                except AdapterRefusal as refused:
                    yield "the encoder's refusal", refused


def _of_replies(subject: Subject) -> Iterator[tuple[str, object]]:
    """What the decoder makes of replies that echo the account's token, wherever a value may stand."""
    for close, golden in subject.sent:
        account = replace(golden.account, token=Secret(ACCOUNT_MARKER))
        for body in wire.echoing(golden.reply.body, f"x{ACCOUNT_MARKER}y"):
            for status in {golden.reply.status, 200, 400, 401, 404, 500}:
                try:
                    yield "a success", close.decode(account, HttpReply(status, (("X-Echo", ACCOUNT_MARKER),), body))
                except AdapterRefusal as refused:
                    yield "the decoder's refusal", refused


def _of_callbacks(subject: Subject) -> Iterator[tuple[str, object]]:
    """What is made of callbacks that carry the account's token where the goldens carry theirs."""
    for path, callback in subject.adapter.callbacks.items():
        goldens = [golden for _, golden in subject.told if golden.operation == path]
        bodies = [_with_marker(golden) for golden in goldens]
        for golden in goldens[:1]:
            account = replace(golden.account, token=Secret(ACCOUNT_MARKER))
            for body in (*bodies, *(body[:-1] for body in bodies), *wire.strangers(bodies)):
                for function in (callback.verify, callback.decode):
                    try:
                        yield "a notification", function(account, replace(golden.request, body=body))
                    except CallbackRefused as refused:
                        yield "a callback's refusal", refused
        for golden in goldens:
            yield (
                "an answer",
                callback.encode_reply(replace(golden.account, token=Secret(ACCOUNT_MARKER)), golden.answer),
            )


def _with_marker(golden: CallbackGolden) -> bytes:
    """The callback's body, a marker where it has the account's token."""
    token = golden.account.token.reveal() if golden.account.token else ""
    return golden.request.body.replace(token.encode(), ACCOUNT_MARKER.encode()) if token else golden.request.body


def _texts(value: object) -> Iterator[str]:
    """Every text of a value that a log or a traceback may show."""
    yield from (repr(value), str(value))
    if isinstance(value, BaseException):
        yield repr(value.args)
        yield repr(vars(value))
        cause = value.__cause__ or (None if value.__suppress_context__ else value.__context__)
        while cause is not None:
            yield str(cause)
            cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def secrets_are_declared(subject: Subject) -> None:
    """What the adapter declares as masked covers every place where a token travels, in both directions."""
    for what, request in (*_requests(subject), *_deliveries(subject)):
        kept = wire.masked(request, subject.adapter.masked)
        places = {"the path": kept.path, "the body": kept.body.decode(errors="replace")}
        places |= {f"the header {name}": value for name, value in kept.headers}
        places |= {f"the query's {name}": value for name, value in kept.query}
        for place, text in places.items():
            if any(spelling in text for marker in MARKERS for spelling in _spellings(marker)):
                raise subject.failure(
                    f"a token stands in {place} of {what}, and `masked` does not cover it",
                    mend="Add the header's or the field's name to ADAPTER.masked; a path cannot be masked.",
                )


def _spellings(marker: str) -> Iterator[str]:
    """The marker as it is, and the part of it that any base64 with it inside must have."""
    yield marker
    for before in range(3):
        coded = b64encode(b"x" * before + marker.encode()).decode()
        yield coded[4 if before else 0 : len(coded) - 4]


def _requests(subject: Subject) -> Iterator[tuple[str, HttpRequest]]:
    for what, value in _of_calls(subject):
        if isinstance(value, HttpRequest):
            yield what, value


def _deliveries(subject: Subject) -> Iterator[tuple[str, HttpRequest]]:
    """What the simulated provider sends to an account whose token is a marker."""
    for happening in (Expire(WIN.session_id), WIN):
        for one in told(subject, happening):
            yield f"the callback {one.path}", one.delivery.request


CHECKS = (no_secret_shows, secrets_are_declared)
