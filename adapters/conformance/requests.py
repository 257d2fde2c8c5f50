"""Checks: `encode` sends or refuses any call, and the capabilities of the call are true."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from itertools import permutations, product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.conformance.case import ACCOUNT_MARKER, CALL_MARKER, Case, examples, result_of
from adapters.conformance.substitutions import texts_by_path
from adapters.contract import (
    Account,
    Attempt,
    CloseSession,
    CloseSessionCall,
    Device,
    FieldInvalid,
    HttpRequest,
    Secret,
    Unsupported,
)
from adapters.golden import CallbackGolden, CallGolden

OPTIONAL = ("session_id", "game_id", "clear_history")
"""The fields that a dialect must send or refuse. `token` and `device` have their own rules."""

UNUSUAL_IDS = (
    "..", ".", "/", "//", "a/../b", "a&game=b", "a=b", "%2e%2e", "a%00b", "a?b#c", '","x":"', "\\", "\u2028", " ", "+",
)  # fmt: skip
ids = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40) | st.sampled_from(UNUSUAL_IDS)
"""What the gateway accepts as an id: any text without control characters."""

attempts = st.builds(
    Attempt,
    number=st.integers(1, 10**6),
    uuid=st.text("0123456789abcdef", min_size=32, max_size=32),
    now=st.datetimes(timezones=st.just(UTC)),
)
calls = st.builds(
    CloseSession,
    user_id=ids,
    session_id=st.just("") | ids,
    game_id=st.just("") | ids,
    token=st.none() | ids.map(Secret),
    clear_history=st.booleans(),
    device=st.builds(Device, os=st.just("") | ids, app_version=st.sampled_from(["", "1.0.10", "1", "é"])),
)


def any_call_is_encoded_or_refused(case: Case) -> None:
    """For any ids `encode` makes a valid request or raises Unsupported or FieldInvalid, and nothing else."""
    for close, golden in case.sent[:1]:
        for unusual in UNUSUAL_IDS:
            for changes in (
                {"user_id": unusual},
                {"session_id": unusual},
                {"game_id": unusual},
                {"token": Secret(unusual)},
            ):
                _check_encode(case, close, golden.account, replace(golden.call, **changes), golden.attempt)
    close_session = case.adapter.close_session
    accounts = [golden.account for golden in case.goldens if not isinstance(golden, CallbackGolden)]
    accounts += [replace(account, token=None) for account in accounts]
    if close_session and accounts:

        @examples
        @given(account=st.sampled_from(accounts), call=calls, attempt=attempts)
        def holds(account: Account[Any], call: CloseSession, attempt: Attempt) -> None:
            _check_encode(case, close_session, account, call, attempt)

        holds()


_FIELDS = frozenset(CloseSession.__dataclass_fields__) | {"device.os", "device.app_version"}


def _check_encode(
    case: Case, close: CloseSessionCall[Any], account: Account[Any], call: CloseSession, attempt: Attempt
) -> None:
    fix = "Raise Unsupported or FieldInvalid for what the dialect cannot express, and name a field of CloseSession."
    got = case.run("encode", lambda call: close.encode(account, call, attempt), call, fix=fix)
    if not isinstance(got, HttpRequest):
        if not (isinstance(got, Unsupported | FieldInvalid) and got.field in _FIELDS):
            raise case.failure("encode raises another refusal, or names no field of CloseSession", got=got, fix=fix)
        return
    for problem in _problems(got):
        raise case.failure(
            f"encode makes a request whose {problem}",
            got=got,
            fix="Escape the caller's values, or raise FieldInvalid for what cannot be escaped.",
        )


def _problems(request: HttpRequest) -> Iterator[str]:
    """What makes the request invalid as HTTP."""
    if not re.fullmatch("[A-Z]+", request.method):
        yield "method is not one of HTTP's"
    if not re.fullmatch(r"/(?!/)[!-~]*", request.path) or re.search(r"[?#\\]", request.path):
        yield "path is not a plain absolute path of visible ASCII"
    if {".", ".."} & set(re.sub("%2e", ".", request.path, flags=re.IGNORECASE).split("/")):
        yield "path has a segment of dots"
    for name, value in request.headers:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            yield f"header {name!r} is no header name"
        if not re.fullmatch(r"([!-~]([ -~]*[!-~])?)?", value):
            yield f"header {name} is not visible ASCII"


# --- Capabilities -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _MinimalCall:
    """A golden call with the required fields only, to which a check adds one field at a time."""

    case: Case
    close: CloseSessionCall[Any]
    golden: CallGolden
    call: CloseSession

    def encode(self, account: Account[Any] | None = None, **changes: Any) -> HttpRequest:
        """The request of this call with these fields changed."""
        return self.close.encode(account or self.golden.account, replace(self.call, **changes), self.golden.attempt)

    def try_encode(self, **changes: Any) -> HttpRequest | None:
        """The request of this call with these fields changed; None where `encode` refuses them."""
        request = result_of(self.encode, **changes)
        return request if isinstance(request, HttpRequest) else None

    def check_sent(self, field: str, value: Any) -> None:
        """Raises a failure unless the field changes the request."""
        if self.encode(**{field: value}) == self.encode():
            raise self.case.failure(
                f"{field} changes nothing in the request, though the capabilities declare it",
                golden=self.golden,
                fix=f"Encode {field}; or remove it from the capabilities and refuse it with Unsupported.",
            )

    def check_refused(
        self,
        refusal: type[Unsupported] | type[FieldInvalid],
        field: str,
        value: Any,
        account: Account[Any] | None = None,
    ) -> None:
        """Raises a failure unless this value of the field is refused with this refusal."""
        got = result_of(self.encode, account, **{field: value})
        if not (isinstance(got, refusal) and got.field == field):
            raise self.case.failure(
                f"a call {'with' if value else 'without'} {field} is not refused as the capabilities declare",
                golden=self.golden,
                expected=f"{refusal.__name__} naming {field}",
                got=got,
                fix=f"Raise {refusal.__name__}({field!r}, …); or correct `required_fields` and `optional_fields`.",
            )


def _minimal_calls(case: Case) -> Iterator[_MinimalCall]:
    """One call, if there is a golden to take it from."""
    for close, golden in case.sent[:1]:
        required: dict[str, Any] = {
            field: getattr(golden.call, field) for field in OPTIONAL if field in close.required_fields
        }
        yield _MinimalCall(case, close, golden, CloseSession(golden.call.user_id, token=golden.call.token, **required))


def capabilities_are_true(case: Case) -> None:
    """A declared field is sent. Any other field is refused, since the call without it would close more sessions."""
    for minimal in _minimal_calls(case):
        for field in OPTIONAL:
            if field in minimal.close.required_fields:
                minimal.check_sent(field, f"{getattr(minimal.call, field)}7")
            elif field in minimal.close.optional_fields:
                minimal.check_sent(field, _value(case, field))
            else:
                minimal.check_refused(Unsupported, field, _value(case, field))
        if minimal.close.ends_all_sessions:
            minimal.check_sent("user_id", f"{minimal.call.user_id}7")
        device = Device("Android", "1.0.10")
        if "device" in minimal.close.optional_fields:
            minimal.check_sent("device", device)
        elif minimal.encode(device=device) != minimal.encode():
            raise case.failure(
                "the device is sent, though `optional_fields` does not name it",
                golden=minimal.golden,
                fix="Add 'device' to `optional_fields`.",
            )


def fields_are_encoded_independently(case: Case) -> None:
    """Each optional field is sent with each other one too, and only clear_history asks to clear a history."""
    for minimal in _minimal_calls(case):
        values = {field: _value(case, field) for field in OPTIONAL if field in minimal.close.optional_fields}
        if "device" in minimal.close.optional_fields:
            values["device"] = Device("Android", "1.0.10")
        for one, other in permutations(values, 2):
            alone = minimal.try_encode(**{one: values[one]})
            both = minimal.try_encode(**{one: values[one], other: values[other]})
            if alone and alone == both:
                raise case.failure(
                    f"{other} changes nothing in a request that has {one}",
                    golden=minimal.golden,
                    got=both,
                    fix=f"Encode {other} where it is given, whether or not {one} is.",
                )
        _check_clear_history(case, minimal, values)


def _check_clear_history(case: Case, minimal: _MinimalCall, values: Mapping[str, object]) -> None:
    """Raises a failure where another field adds to the request what clear_history adds: it would destroy a round."""
    plain = texts_by_path(minimal.encode()).items()
    added = {
        field: texts_by_path(request).items() - plain
        for field, value in values.items()
        if (request := minimal.try_encode(**{field: value}))
    }
    for field in added.keys() - {"clear_history"}:
        if shared := added[field] & added.get("clear_history", set()):
            raise case.failure(
                f"{field} alone adds {sorted(path[-1] for path, _ in shared)}, as clear_history does",
                golden=minimal.golden,
                fix="Ask for a history to be cleared only where clear_history is given.",
            )


def _value(case: Case, field: str) -> object:
    """A value of this field that the dialect accepts: a golden's, if one has it."""
    if field == "clear_history":
        return True
    given_calls = [golden.call for golden in case.goldens if not isinstance(golden, CallbackGolden)]
    return next(filter(None, (getattr(call, field) for call in given_calls)), "5e55104a7e57")


def required_fields_are_enforced(case: Case) -> None:
    """Without a field of `required_fields` `encode` raises FieldInvalid for it, and the capabilities are consistent."""
    for minimal in _minimal_calls(case):
        required, optional = minimal.close.required_fields, minimal.close.optional_fields
        if unknown := (required | optional) - {*OPTIONAL, "token", "device"}:
            raise case.failure(
                f"the capabilities name {sorted(unknown)}",
                fix=f"The fields that they may name are {', '.join((*OPTIONAL, 'token', 'device'))}.",
            )
        for field in sorted(required & {"session_id", "game_id"}):
            minimal.check_refused(FieldInvalid, field, "")
            if minimal.close.ends_all_sessions:
                raise case.failure(
                    f"ends_all_sessions is True for a call that requires {field}",
                    fix="Set ends_all_sessions to False.",
                )


def caller_token_overrides_account_token(case: Case) -> None:
    """Where a token is required either token is enough, the caller's goes first, and a call without both is refused."""
    for minimal in _minimal_calls(case):
        if "token" not in minimal.close.required_fields:
            continue
        configured, without = (replace(minimal.golden.account, token=token) for token in (Secret(ACCOUNT_MARKER), None))
        minimal.check_refused(FieldInvalid, "token", None, without)
        with_account_token = minimal.encode(configured, token=None)
        with_caller_token = minimal.encode(without, token=Secret(CALL_MARKER))
        if with_account_token == with_caller_token:
            raise case.failure(
                "the request is the same with another token", golden=minimal.golden, fix="Encode the token."
            )
        if minimal.encode(configured, token=Secret(CALL_MARKER)) != with_caller_token:
            raise case.failure(
                "the configured token replaces the caller's",
                golden=minimal.golden,
                fix="Encode `effective_token(account, call)` of adapters.contract.",
            )


# --- Values that must not be changed ----------------------------------------------------------------------------------

SIMILAR_IDS = (
    ("Tester", "tester"),
    ("AbC-01", "abc-01"),
    ("007", "7"),
    (" x ", "x"),
    ("x ", "x"),
    ("a_b", "a-b"),
    ("\u00e9", "e\u0301"),
    ("\u00df", "ss"),
    ("x" * 254 + "a", "x" * 254 + "b"),
)
"""Pairs of different ids that a normalizing encoder makes equal."""


def ids_are_sent_unchanged(case: Case) -> None:
    """Two ids that differ in case, zeros, space, spelling or the last character make two requests, or are refused."""
    for minimal in _minimal_calls(case):
        sent = (minimal.close.required_fields | minimal.close.optional_fields) & {"session_id", "game_id"}
        if minimal.encode(user_id=f"{minimal.call.user_id}7") != minimal.encode():
            sent |= {"user_id"}
        for field, pair in product(sorted(sent), SIMILAR_IDS):
            one, other = (minimal.try_encode(**{field: value}) for value in pair)
            if one and one == other:
                raise case.failure(
                    f"{field} {pair[0]!r} and {pair[1]!r} become the same request: another player's would be closed",
                    golden=minimal.golden,
                    got=one,
                    fix=f"Send {field} as it is given, or raise FieldInvalid for what cannot be sent.",
                )


def each_attempt_sends_its_uuid(case: Case) -> None:
    """Where a golden's request has the attempt's uuid, each attempt sends its uuid and not the first attempt's."""
    for close, golden in case.sent:
        if not _has_uuid(golden.request, golden.attempt):
            continue
        uuid = next(uuid for uuid in UUIDS if uuid != golden.attempt.uuid)
        another = Attempt(golden.attempt.number + 1, uuid, golden.attempt.now)
        for attempt, other in ((golden.attempt, another), (another, golden.attempt)):
            request = close.encode(golden.account, golden.call, attempt)
            if _has_uuid(request, other) or not _has_uuid(request, attempt):
                raise case.failure(
                    "an attempt does not send its uuid: a provider that has seen the other one would refuse it",
                    golden=golden,
                    expected=attempt.uuid,
                    got=request,
                    fix="Encode attempt.uuid each time, and keep none.",
                )


UUIDS = ("fedcba9876543210fedcba9876543210", "0123456789abcdef0123456789abcdef")


def _has_uuid(request: HttpRequest, attempt: Attempt) -> bool:
    """Whether the request has the attempt's uuid anywhere, in any case, with or without hyphens."""
    uuid = attempt.uuid.replace("-", "").lower()
    texts = [request.path, request.body.decode(errors="replace")]
    texts += [value for _, value in (*request.query, *request.headers)]
    return any(uuid in text.replace("-", "").lower() for text in texts)


CHECKS = (
    any_call_is_encoded_or_refused,
    capabilities_are_true,
    fields_are_encoded_independently,
    required_fields_are_enforced,
    caller_token_overrides_account_token,
    ids_are_sent_unchanged,
    each_attempt_sends_its_uuid,
)
