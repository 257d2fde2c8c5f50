"""Checks: `decode` accepts or refuses any HTTP reply of a provider, and only a documented success is a success."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.conformance import wire
from adapters.conformance.case import Case, examples
from adapters.conformance.substitutions import Place, text_places
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
    200, 201, 202, 204, 206, 301, 302, 307, 400, 401, 403, 404, 405, 409, 410, 418, 422, 429, 500, 502, 503, 599,
)  # fmt: skip

HTTP_FAILURES = {
    **dict.fromkeys((301, 302, 303, 307, 308), RefusalKind.MALFORMED),
    **dict.fromkeys((401, 403), RefusalKind.CREDENTIALS_REJECTED),
    429: RefusalKind.THROTTLED,
    **dict.fromkeys((500, 502, 503, 504, 599), RefusalKind.FAILED),
}
"""The meaning of HTTP statuses that no body changes."""


def any_reply_is_decoded_or_refused(case: Case) -> None:
    """For any reply `decode` returns a well-typed Closed or raises ProviderRefused, and nothing else."""
    for account, bodies in _accounts_and_bodies(case):
        for body in wire.malformed_variants(bodies):
            for status in (200, 404):
                _decode(case, account, HttpReply(status, (), body))
        _check_any_reply(case, account, bodies)


def _check_any_reply(case: Case, account: Account[Any], bodies: list[bytes]) -> None:
    names = st.sampled_from(["Content-Type", "Location", "Retry-After"])

    @examples
    @given(
        status=st.sampled_from(STATUSES),
        headers=st.lists(st.tuples(names, st.text(max_size=9))).map(tuple),
        body=bytes_like(bodies),
    )
    def holds(status: int, headers: Headers, body: bytes) -> None:
        _decode(case, account, HttpReply(status, headers, body))

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


def _accounts_and_bodies(case: Case) -> Iterator[tuple[Account[Any], list[bytes]]]:
    """An account and the bodies of all golden replies; nothing where there is no call or no account."""
    if case.adapter.close_session and case.account:
        yield case.account, sorted({golden.reply.body for _, golden in case.sent})


def _decode(case: Case, account: Account[Any], reply: HttpReply) -> Closed | ProviderRefused:
    """The result or refusal of `decode`. Raises a failure if it is neither, or not well-typed."""
    close = case.adapter.close_session
    fix = "Raise ProviderRefused, of kind MALFORMED for what is not the dialect."
    result = case.run("decode", close.decode, account, reply, fix=fix) if close else None
    match result:
        case Closed(Outcome(), answer) if _is_valid(answer, reply):
            return result
        case ProviderRefused(kind=RefusalKind(), answer=answer, message=str()) if _is_valid(answer, reply):
            return result
    raise case.failure(
        "decode gives a value that is not well-typed",
        expected=f"Closed or ProviderRefused, with strings that UTF-8 can encode and http_status {reply.status}",
        got=result,
        fix="Check each value of the reply before it goes into an answer.",
    )


def _is_valid(answer: object, reply: HttpReply) -> bool:
    match answer:
        case ProviderAnswer(str(code), str(description), reply.status):
            return all(not "\ud800" <= character <= "\udfff" for character in code + description)
    return False


SUCCESS_STATUSES = (200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 299)


def garbage_is_malformed(case: Case) -> None:
    """Empty, foreign and random bodies with any HTTP 2xx are refused as MALFORMED, unless a golden is that success."""
    for account, _ in _accounts_and_bodies(case):
        for status in SUCCESS_STATUSES:
            for body in wire.GARBAGE:
                _check_garbage(case, account, HttpReply(status, (), body))

        @examples
        @given(account=st.just(account), status=st.sampled_from(SUCCESS_STATUSES), body=st.binary(max_size=80))
        def holds(account: Account[Any], status: int, body: bytes) -> None:
            _check_garbage(case, account, HttpReply(status, (), body))

        holds()


def byte_order_mark_changes_no_outcome(case: Case) -> None:
    """A byte order mark before a JSON answer changes nothing: what was done stays done."""
    for _, golden in case.sent:
        reply = golden.reply
        if wire.is_json(reply.body):
            wanted = _decode(case, golden.account, reply)
            got = _decode(case, golden.account, replace(reply, body=BOM_UTF8 + reply.body))
            if _meaning(got) != _meaning(wanted):
                raise case.failure(
                    "a byte order mark before the answer changes the outcome",
                    golden=golden,
                    expected=_meaning(wanted),
                    got=_meaning(got),
                    fix='Decode the body as "utf-8-sig".',
                )


def _check_garbage(case: Case, account: Account[Any], reply: HttpReply) -> None:
    if _is_documented_success(case, reply):
        return
    result = _decode(case, account, reply)
    if not (isinstance(result, ProviderRefused) and result.kind is RefusalKind.MALFORMED):
        raise case.failure(
            f"a body that is not the dialect is accepted as an answer with HTTP {reply.status}",
            expected=RefusalKind.MALFORMED,
            got=f"{_meaning(result)} for the body {reply.body[:80]!r}",
            fix="Require the fields that the document requires, with their types, before any other decision.",
        )


def _is_documented_success(case: Case, reply: HttpReply) -> bool:
    """Whether a golden has this body as its success; for an empty body with this status too."""
    return any(
        golden.reply.body == reply.body and (reply.body.strip() or golden.reply.status == reply.status)
        for golden in _successes(case)
    )


def _successes(case: Case) -> list[CallGolden]:
    return [golden for _, golden in case.sent if isinstance(golden.expect, Closed)]


def _meaning(result: Closed | ProviderRefused) -> str:
    return str(result.outcome if isinstance(result, Closed) else result.kind)


def http_failures_are_refusals(case: Case) -> None:
    """A redirect, 401, 403, 429 and 5xx keep their HTTP meaning for any body, a success in an error page included."""
    for account, bodies in _accounts_and_bodies(case):
        for body in (*wire.GARBAGE, *bodies):
            for status, kind in HTTP_FAILURES.items():
                result = _decode(case, account, HttpReply(status, (), body))
                if not (isinstance(result, ProviderRefused) and result.kind is kind):
                    raise case.failure(
                        f"HTTP {status} is not decoded as {kind}",
                        expected=kind,
                        got=f"{_meaning(result)} for the body {body[:80]!r}",
                        fix="Decide by the status before the body: adapters.contract.kind_by_status does.",
                    )


def unknown_codes_are_refused(case: Case) -> None:
    """Where refusals have the HTTP status of a success, a value of the body decides, and an unknown one is refused."""
    for golden in _successes(case):
        found = list(text_places(golden.reply))
        if not found or golden.reply.status not in _statuses_of_refusals(case):
            continue
        if not any(_decides(case, golden, place) for place in found):
            raise case.failure(
                f"this answer stays a success with any value in {', '.join(place.name for place in found)}",
                golden=golden,
                expected="ProviderRefused, REFUSED_UNLISTED, for a code that no document lists",
                fix="List the codes of success, and refuse every other.",
            )


def _statuses_of_refusals(case: Case) -> set[int]:
    """The statuses of goldens that are refusals in the dialect."""
    return {
        golden.reply.status
        for _, golden in case.sent
        if isinstance(golden.expect, RefusalExpected) and golden.expect.kind is not RefusalKind.MALFORMED
    }


def _decides(case: Case, golden: CallGolden, place: Place[HttpReply]) -> bool:
    """Whether every unknown value in this place makes the answer a refusal."""
    return all(
        isinstance(_decode(case, golden.account, place.put(value)), ProviderRefused) for value in _unknown(place)
    )


def _unknown(place: Place[HttpReply]) -> tuple[object, ...]:
    """Values of the same type that no document lists."""
    if isinstance(place.value, bool):
        return (not place.value,)
    text = place.text or ""
    numbers = ("31337", "-31337", "907", f"{text}7")
    if isinstance(place.value, wire.Literal):
        return tuple(map(wire.Literal, numbers))
    return numbers if text.isdecimal() else ("unheardof", "Unheard-Of", f"{text}x")


CHECKS = (
    any_reply_is_decoded_or_refused,
    garbage_is_malformed,
    byte_order_mark_changes_no_outcome,
    http_failures_are_refusals,
    unknown_codes_are_refused,
)
