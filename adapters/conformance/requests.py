"""Checks: any call is encoded soundly or refused as the contract says, and the capabilities are what they claim."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from itertools import permutations, product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.conformance.case import ACCOUNT_MARKER, CALL_MARKER, Subject, examples
from adapters.conformance.substitutions import statements
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
"""The fields that a dialect must carry or refuse; `token` and `device` have rules of their own."""

ids = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40) | st.sampled_from(
    ["..", ".", "/", "//", "a/../b", "a&game=b", "a=b", "%2e%2e", "a%00b", "a?b#c", '","x":"', "\\", "\u2028", " ", "+"]
)
"""What the gateway lets through as an id: anything without control characters."""

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


def any_call_is_sent_or_refused(subject: Subject) -> None:
    """Whatever the ids, the encoder makes a sound request or raises Unsupported or FieldInvalid, and nothing else."""
    close = subject.adapter.close_session
    if close is None:
        return
    fields = frozenset(CloseSession.__dataclass_fields__) | {"device.os", "device.app_version"}

    @examples
    @given(account=st.sampled_from(_accounts(subject)), call=calls, attempt=attempts)
    def holds(account: Account[Any], call: CloseSession, attempt: Attempt) -> None:
        try:
            request = close.encode(account, call, attempt)
        except (Unsupported, FieldInvalid) as refused:
            if refused.field not in fields:
                raise subject.failure(
                    f"the encoder refuses a field {refused.field!r}, which no caller knows",
                    mend="Name the field as CloseSession does.",
                ) from None
            return
        except Exception as error:
            raise subject.failure(
                f"the encoder raises {type(error).__name__}",
                got=call,
                mend="Raise Unsupported or FieldInvalid, naming the field, for what the dialect cannot express.",
            ) from error
        for unsound in _unsound(request):
            raise subject.failure(
                f"the encoder makes a request whose {unsound}",
                got=request,
                mend="Escape what the caller gives, or raise FieldInvalid for what cannot be escaped.",
            )

    if _accounts(subject):
        holds()


def _accounts(subject: Subject) -> list[Account[Any]]:
    accounts = [golden.account for golden in subject.goldens if not isinstance(golden, CallbackGolden)]
    return [*accounts, *(replace(account, token=None) for account in accounts)]


def _unsound(request: HttpRequest) -> Iterator[str]:
    """What is wrong with a request, whoever made it."""
    if not re.fullmatch("[A-Z]+", request.method):
        yield "method is not one of HTTP's"
    if not re.fullmatch(r"/(?!/)[!-~]*", request.path) or re.search(r"[?#\\]", request.path):
        yield "path is not a plain absolute path of visible ASCII"
    if {".", ".."} & set(re.sub("%2e", ".", request.path, flags=re.IGNORECASE).split("/")):
        yield "path climbs"
    for name, value in request.headers:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            yield f"header {name!r} is no header's name"
        if not re.fullmatch(r"([!-~]([ -~]*[!-~])?)?", value):
            yield f"header {name} is not visible ASCII"


# --- Capabilities -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Bare:
    """A golden call stripped to what the dialect needs, to which one field at a time is added."""

    subject: Subject
    close: CloseSessionCall[Any]
    golden: CallGolden
    call: CloseSession

    def encode(self, account: Account[Any] | None = None, **changes: Any) -> HttpRequest:
        """The request of this call with these fields changed."""
        return self.close.encode(account or self.golden.account, replace(self.call, **changes), self.golden.attempt)

    def attempted(self, **changes: Any) -> HttpRequest | None:
        """The request of this call with these fields changed; None where the dialect cannot take them so."""
        try:
            return self.encode(**changes)
        except (Unsupported, FieldInvalid):
            return None

    def travels(self, field: str, value: Any) -> None:
        """Judges that the field changes the request."""
        if self.encode(**{field: value}) == self.encode():
            raise self.subject.failure(
                f"{field} changes nothing in the request, though the capabilities say that it travels",
                golden=self.golden,
                mend=f"Encode {field}; or take it out of the capabilities and refuse it with Unsupported.",
            )

    def is_refused(
        self,
        refusal: type[Unsupported] | type[FieldInvalid],
        field: str,
        value: Any,
        account: Account[Any] | None = None,
    ) -> None:
        """Judges that the field with this value is refused so."""
        try:
            got: object = self.encode(account, **{field: value})
        except (Unsupported, FieldInvalid) as refused:
            if isinstance(refused, refusal) and refused.field == field:
                return
            got = refused
        raise self.subject.failure(
            f"a call {'with' if value else 'without'} {field} is not refused as the capabilities say",
            golden=self.golden,
            expected=f"{refusal.__name__} naming {field}",
            got=got,
            mend=f"Raise {refusal.__name__}({field!r}, …); or mend `required_fields` and `optional_fields`.",
        )


def _bare_calls(subject: Subject) -> Iterator[_Bare]:
    """One call, if there is a golden to take it from."""
    for close, golden in subject.sent[:1]:
        needed: dict[str, Any] = {
            field: getattr(golden.call, field) for field in OPTIONAL if field in close.required_fields
        }
        yield _Bare(subject, close, golden, CloseSession(golden.call.user_id, token=golden.call.token, **needed))


def capabilities_are_true(subject: Subject) -> None:
    """A field that the call declares is sent; any other is refused, because without it more would be closed."""
    for bare in _bare_calls(subject):
        for field in OPTIONAL:
            if field in bare.close.required_fields:
                bare.travels(field, f"{getattr(bare.call, field)}7")
            elif field in bare.close.optional_fields:
                bare.travels(field, _value(subject, field))
            else:
                bare.is_refused(Unsupported, field, _value(subject, field))
        if bare.close.ends_all_sessions:
            bare.travels("user_id", f"{bare.call.user_id}7")
        device = Device("Android", "1.0.10")
        if "device" in bare.close.optional_fields:
            bare.travels("device", device)
        elif bare.encode(device=device) != bare.encode():
            raise subject.failure(
                "the device travels, though `optional_fields` does not name it",
                golden=bare.golden,
                mend="Add 'device' to `optional_fields`.",
            )


def fields_do_not_speak_for_each_other(subject: Subject) -> None:
    """Each accepted field travels beside each other one, and nothing else says that a history is to be cleared."""
    for bare in _bare_calls(subject):
        values = {field: _value(subject, field) for field in OPTIONAL if field in bare.close.optional_fields}
        if "device" in bare.close.optional_fields:
            values["device"] = Device("Android", "1.0.10")
        for one, other in permutations(values, 2):
            alone, both = (
                bare.attempted(**{field: values[field] for field in fields}) for fields in ([one], [one, other])
            )
            if alone and both and alone == both:
                raise subject.failure(
                    f"{other} changes nothing in a request that has {one}",
                    golden=bare.golden,
                    got=both,
                    mend=f"Encode {other} where it is given, and not where {one} is.",
                )
        _judge_clearing(subject, bare, values)


def _judge_clearing(subject: Subject, bare: _Bare, values: Mapping[str, object]) -> None:
    """What clear_history adds to the bare request no other field may add: it destroys a round."""
    plain = statements(bare.encode()).items()
    adds = {
        field: statements(request).items() - plain
        for field, value in values.items()
        if (request := bare.attempted(**{field: value}))
    }
    for field in adds.keys() - {"clear_history"}:
        if shared := adds[field] & adds.get("clear_history", set()):
            raise subject.failure(
                f"giving {field} alone says {sorted(path[-1] for path, _ in shared)} as clear_history does",
                golden=bare.golden,
                mend="Ask for a history to be cleared only where clear_history is given.",
            )


def _value(subject: Subject, field: str) -> object:
    """A value that the dialect takes for this field: a golden's, if one has it."""
    if field == "clear_history":
        return True
    calls = [golden.call for golden in subject.goldens if not isinstance(golden, CallbackGolden)]
    return next(filter(None, (getattr(call, field) for call in calls)), "5e55104a7e57")


def needed_fields_are_asked_for(subject: Subject) -> None:
    """Without a field in `required_fields` the encoder raises FieldInvalid for it; the capabilities are consistent."""
    for bare in _bare_calls(subject):
        needs, accepts = bare.close.required_fields, bare.close.optional_fields
        if unknown := (needs | accepts) - {*OPTIONAL, "token", "device"}:
            raise subject.failure(
                f"the capabilities name {sorted(unknown)}",
                mend=f"They are some of {', '.join((*OPTIONAL, 'token', 'device'))}.",
            )
        for field in sorted(needs & {"session_id", "game_id"}):
            bare.is_refused(FieldInvalid, field, "")
            if bare.close.ends_all_sessions:
                raise subject.failure(
                    f"ends_all_sessions is claimed for a call that needs {field}",
                    mend="Set ends_all_sessions to False.",
                )


def either_token_is_enough(subject: Subject) -> None:
    """Where a token is needed the account's or the caller's will do, the caller's wins, and none is refused."""
    for bare in _bare_calls(subject):
        if "token" not in bare.close.required_fields:
            continue
        configured, without = (replace(bare.golden.account, token=token) for token in (Secret(ACCOUNT_MARKER), None))
        bare.is_refused(FieldInvalid, "token", None, without)
        of_account = bare.encode(configured, token=None)
        of_caller = bare.encode(without, token=Secret(CALL_MARKER))
        if of_account == of_caller:
            raise subject.failure(
                "the request is the same with another token", golden=bare.golden, mend="Encode the token."
            )
        if bare.encode(configured, token=Secret(CALL_MARKER)) != of_caller:
            raise subject.failure(
                "the caller's token does not win over the configured one",
                golden=bare.golden,
                mend="Encode `call.token or account.token`.",
            )


# --- What must not be lost on the way ---------------------------------------------------------------------------------

LOOKALIKES = (
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
"""Ids that are two, and that someone who tidies them takes for one."""


def ids_travel_as_they_are(subject: Subject) -> None:
    """Two ids that differ in case, zeros, space, spelling or their last character make two requests, or are refused."""
    for bare in _bare_calls(subject):
        travelling = (bare.close.required_fields | bare.close.optional_fields) & {"session_id", "game_id"}
        if bare.encode(user_id=f"{bare.call.user_id}7") != bare.encode():
            travelling |= {"user_id"}
        for field, pair in product(sorted(travelling), LOOKALIKES):
            one, other = (bare.attempted(**{field: given}) for given in pair)
            if one and one == other:
                raise subject.failure(
                    f"{field} {pair[0]!r} and {pair[1]!r} become the same request: another player's would be closed",
                    golden=bare.golden,
                    got=one,
                    mend=f"Send {field} as it is given, or raise FieldInvalid for what cannot be sent.",
                )


def each_attempt_has_its_own_uuid(subject: Subject) -> None:
    """Where a golden shows the attempt's uuid travelling, the next attempt sends its own and not the first one's."""
    for close, golden in subject.sent:
        if not _names_uuid(golden.request, golden.attempt):
            continue
        uuid = next(uuid for uuid in UUIDS if uuid != golden.attempt.uuid)
        another = Attempt(golden.attempt.number + 1, uuid, golden.attempt.now)
        for attempt, other in ((golden.attempt, another), (another, golden.attempt)):
            request = close.encode(golden.account, golden.call, attempt)
            if _names_uuid(request, other) or not _names_uuid(request, attempt):
                raise subject.failure(
                    "an attempt does not send a uuid of its own, and a provider that has seen it would refuse it",
                    golden=golden,
                    expected=attempt.uuid,
                    got=request,
                    mend="Take attempt.uuid each time; keep none.",
                )


UUIDS = ("fedcba9876543210fedcba9876543210", "0123456789abcdef0123456789abcdef")


def _names_uuid(request: HttpRequest, attempt: Attempt) -> bool:
    """Whether an attempt's uuid stands anywhere in a request, in any case, with or without hyphens."""
    uuid = attempt.uuid.replace("-", "").lower()
    texts = [request.path, request.body.decode(errors="replace")]
    texts += [value for _, value in (*request.query, *request.headers)]
    return any(uuid in text.replace("-", "").lower() for text in texts)


CHECKS = (
    any_call_is_sent_or_refused,
    capabilities_are_true,
    fields_do_not_speak_for_each_other,
    needed_fields_are_asked_for,
    either_token_is_enough,
    ids_travel_as_they_are,
    each_attempt_has_its_own_uuid,
)
