"""Checks: any answer of a provider is a success or a refusal of the contract, and nothing is a success by chance."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.conformance import wire
from adapters.conformance.case import Subject, examples
from adapters.conformance.substitutions import Place, speaking
from adapters.contract import (
    Account,
    Closed,
    Headers,
    HttpReply,
    Outcome,
    ProviderAnswer,
    ProviderRefused,
    RefusalKind,
)
from adapters.golden import CallGolden, RefusalExpected

STATUSES = (
    200,
    201,
    202,
    204,
    206,
    301,
    302,
    307,
    400,
    401,
    403,
    404,
    405,
    409,
    410,
    418,
    422,
    429,
    500,
    502,
    503,
    599,
)

HTTP_FAILURES = {
    **dict.fromkeys((301, 302, 303, 307, 308), RefusalKind.MALFORMED),
    **dict.fromkeys((401, 403), RefusalKind.CREDENTIALS_REJECTED),
    429: RefusalKind.THROTTLED,
    **dict.fromkeys((500, 502, 503, 504, 599), RefusalKind.FAILED),
}
"""What an HTTP status means whatever the body says."""


def any_reply_is_understood_or_refused(subject: Subject) -> None:
    """Whatever comes back, the decoder gives a well-typed Closed or raises ProviderRefused, and nothing else."""
    for account, bodies in _materials(subject):
        for body in wire.strangers(bodies):
            for status in (200, 404):
                _decoded(subject, account, HttpReply(status, (), body))
        _judge_any_reply(subject, account, bodies)


def _judge_any_reply(subject: Subject, account: Account[Any], bodies: list[bytes]) -> None:
    names = st.sampled_from(["Content-Type", "Location", "Retry-After"])

    @examples
    @given(
        status=st.sampled_from(STATUSES),
        headers=st.lists(st.tuples(names, st.text(max_size=9))).map(tuple),
        body=bytes_like(bodies),
    )
    def holds(status: int, headers: Headers, body: bytes) -> None:
        _decoded(subject, account, HttpReply(status, headers, body))

    holds()


def bytes_like(bodies: list[bytes]) -> st.SearchStrategy[bytes]:
    """Random bytes, random text, and known bodies with a piece replaced by other bytes."""

    def splice(body: bytes, start: int, length: int, piece: bytes) -> bytes:
        at = start % (len(body) + 1)
        return body[:at] + piece + body[at + length :]

    spliced = st.builds(
        splice, st.sampled_from(bodies or [b""]), st.integers(0, 2_000), st.integers(0, 20), st.binary(max_size=8)
    )
    return spliced | st.binary(max_size=80) | st.text(max_size=40).map(lambda text: text.encode(errors="replace"))


def _materials(subject: Subject) -> Iterator[tuple[Account[Any], list[bytes]]]:
    """An account and every golden reply's body; nothing where there is no call, or no account."""
    if subject.adapter.close_session and subject.account:
        yield subject.account, sorted({golden.reply.body for _, golden in subject.sent})


def _decoded(subject: Subject, account: Account[Any], reply: HttpReply) -> Closed | ProviderRefused:
    """What the decoder makes of a reply. Raises the failure if that is neither of the two it may be."""
    close = subject.adapter.close_session
    try:
        result: object = close.decode(account, reply) if close else None
    except ProviderRefused as refused:
        result = refused
    except Exception as error:
        raise subject.failure(
            f"the decoder raises {type(error).__name__}",
            got=reply,
            mend="Raise ProviderRefused, of kind MALFORMED for what is not the dialect.",
        ) from error
    match result:
        case Closed(Outcome(), answer) if _is_sound(answer, reply):
            return result
        case ProviderRefused(kind=RefusalKind(), answer=answer, message=str()) if _is_sound(answer, reply):
            return result
    raise subject.failure(
        "the decoder gives a value that is not well-typed",
        expected=f"Closed or ProviderRefused, with strings fit for UTF-8 and http_status {reply.status}",
        got=result,
        mend="Check each value of the reply before it goes into an answer.",
    )


def _is_sound(answer: object, reply: HttpReply) -> bool:
    match answer:
        case ProviderAnswer(str(code), str(description), reply.status):
            return all(not "\ud800" <= character <= "\udfff" for character in code + description)
    return False


GOOD_STATUSES = (200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 299)
"""The statuses with which a server may say that all is well, whatever it did."""


def garbage_is_no_success(subject: Subject) -> None:
    """Empty, foreign and random bodies with any HTTP 2xx are refused as MALFORMED; no golden success aside."""
    for account, _ in _materials(subject):
        for status in GOOD_STATUSES:
            for body in wire.GARBAGE:
                _judge_garbage(subject, account, HttpReply(status, (), body))

        @examples
        @given(account=st.just(account), status=st.sampled_from(GOOD_STATUSES), body=st.binary(max_size=80))
        def holds(account: Account[Any], status: int, body: bytes) -> None:
            _judge_garbage(subject, account, HttpReply(status, (), body))

        holds()


def _judge_garbage(subject: Subject, account: Account[Any], reply: HttpReply) -> None:
    if _is_printed_as_success(subject, reply):
        return
    result = _decoded(subject, account, reply)
    if not (isinstance(result, ProviderRefused) and result.kind is RefusalKind.MALFORMED):
        raise subject.failure(
            f"a body that says nothing in the dialect is taken for an answer with HTTP {reply.status}",
            expected=RefusalKind.MALFORMED,
            got=f"{_decision(result)} for the body {reply.body[:80]!r}",
            mend="Demand the fields that the document requires, of the types it gives them, before reading on.",
        )


def _is_printed_as_success(subject: Subject, reply: HttpReply) -> bool:
    """Whether a document prints this very body as its success; an empty one says so only with its own status."""
    return any(
        golden.reply.body == reply.body and (reply.body.strip() or golden.reply.status == reply.status)
        for golden in _successes(subject)
    )


def _successes(subject: Subject) -> list[CallGolden]:
    return [golden for _, golden in subject.sent if isinstance(golden.expect, Closed)]


def _decision(result: Closed | ProviderRefused) -> str:
    """What a decoder decided, in a word."""
    return str(result.outcome if isinstance(result, Closed) else result.kind)


def http_failures_are_failures(subject: Subject) -> None:
    """A redirect, 401, 403, 429 and 5xx mean what HTTP says, whatever the body: a success in an error page is none."""
    for account, bodies in _materials(subject):
        for body in (*wire.GARBAGE, *bodies):
            for status, kind in HTTP_FAILURES.items():
                result = _decoded(subject, account, HttpReply(status, (), body))
                if not (isinstance(result, ProviderRefused) and result.kind is kind):
                    raise subject.failure(
                        f"HTTP {status} is not taken as {kind}",
                        expected=kind,
                        got=f"{_decision(result)} for the body {body[:80]!r}",
                        mend="Judge the status before the body.",
                    )


def an_unknown_code_is_no_success(subject: Subject) -> None:
    """Where refusals come with a success's HTTP status, something in the body says which it is, and is not guessed."""
    for golden in _successes(subject):
        found = list(speaking(golden.reply))
        if not found or golden.reply.status not in _statuses_of_refusals(subject):
            continue
        if not any(_decides(subject, golden, place) for place in found):
            raise subject.failure(
                f"this answer stays a success whatever stands in {', '.join(place.name for place in found)}",
                golden=golden,
                expected="ProviderRefused, REFUSED_UNLISTED, for a code that no document lists",
                mend="Name the codes of success, and take no other for one.",
            )


def _statuses_of_refusals(subject: Subject) -> set[int]:
    """The statuses with which the provider itself says that it refuses."""
    return {
        golden.reply.status
        for _, golden in subject.sent
        if isinstance(golden.expect, RefusalExpected) and golden.expect.kind is not RefusalKind.MALFORMED
    }


def _decides(subject: Subject, golden: CallGolden, place: Place[HttpReply]) -> bool:
    """Whether no unknown value in this place leaves the answer a success."""
    return all(
        isinstance(_decoded(subject, golden.account, place.put(value)), ProviderRefused) for value in _unknown(place)
    )


def _unknown(place: Place[HttpReply]) -> tuple[object, ...]:
    """Values of the same type that no document lists."""
    if isinstance(place.value, bool):
        return (not place.value,)
    text = place.text or ""
    if isinstance(place.value, wire.Literal):
        return tuple(wire.Literal(unknown) for unknown in ("31337", "-31337", "907", f"{text}7"))
    return ("31337", "-31337", "907", f"{text}7") if text.isdecimal() else ("unheardof", "Unheard-Of", f"{text}x")


CHECKS = (
    any_reply_is_understood_or_refused,
    garbage_is_no_success,
    http_failures_are_failures,
    an_unknown_code_is_no_success,
)
