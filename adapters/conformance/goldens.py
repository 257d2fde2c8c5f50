"""Checks: the golden exchanges hold, byte for byte, and there are enough of them."""

from typing import Any

from adapters.conformance import wire
from adapters.conformance.case import Subject
from adapters.contract import (
    Account,
    Callback,
    CallbackRefused,
    Closed,
    HttpReply,
    HttpRequest,
    Notification,
    ProviderRefused,
    Rejected,
)
from adapters.golden import CLOSE_SESSION, CallbackGolden, CallGolden, FaultExpected, RefusalExpected, UnsentGolden


def goldens_are_readable(subject: Subject) -> None:
    """Every golden file is of its form, and names its source."""
    for problem in subject.unreadable:
        raise subject.failure(str(problem), mend="See the form at the head of adapters/golden.py.")


def every_operation_has_goldens(subject: Subject) -> None:
    """Each operation is shown at least once as it succeeds and once as it is refused."""
    operations = [CLOSE_SESSION] if subject.adapter.close_session else []
    for operation in (*operations, *subject.adapter.callbacks):
        shown = [_succeeds(golden) for golden in subject.goldens if golden.operation == operation]
        for success, kind in ((True, "a success"), (False, "a refusal")):
            if success not in shown:
                raise subject.failure(
                    f"no golden shows {kind} of {operation}",
                    mend=f"Add one to {subject.package}'s golden/, from the provider's document, naming the place.",
                )


def _succeeds(golden: CallGolden | UnsentGolden | CallbackGolden) -> bool:
    match golden:
        case CallGolden(expect=expect):
            return isinstance(expect, Closed)
        case UnsentGolden():
            return False
        case CallbackGolden(answer=answer):
            return not isinstance(answer, Rejected)


def requests_are_exact(subject: Subject) -> None:
    """What a golden call becomes on the wire is the golden's request, byte for byte and header for header."""
    for close, golden in subject.sent:
        request = close.encode(golden.account, golden.call, golden.attempt)
        for part in ("method", "path", "query", "headers", "body"):
            expected, got = getattr(golden.request, part), getattr(request, part)
            if expected != got:
                raise subject.failure(
                    f"the encoder makes another {part}",
                    golden=golden,
                    expected=expected,
                    got=got,
                    mend="Mend the encoder; or the golden, if the provider's document says otherwise.",
                )


def unsent_calls_are_refused(subject: Subject) -> None:
    """A golden call that the dialect cannot express is refused by the encoder, with the golden's field."""
    for close, golden in subject.unsent:
        refusal, field = golden.expect.refusal, golden.expect.field
        try:
            got: object = close.encode(golden.account, golden.call, golden.attempt)
        except refusal as refused:
            if refused.field == field:
                continue
            got = refused
        raise subject.failure(
            "a call that cannot be expressed is not refused as the golden says",
            golden=golden,
            expected=f"{refusal.__name__} naming {field}",
            got=got,
            mend=f"Let the encoder raise {refusal.__name__}({field!r}, …) before it makes anything.",
        )


def replies_are_understood(subject: Subject) -> None:
    """What a golden reply means is what the golden says: outcome or refusal, code and description."""
    for close, golden in subject.sent:
        try:
            got: object = close.decode(golden.account, golden.reply)
        except ProviderRefused as refused:
            got = refused
        if not _as_expected(golden.expect, got):
            raise subject.failure(
                "the decoder makes something else of the reply",
                golden=golden,
                expected=golden.expect,
                got=got,
                mend="Mend the decoder; or the golden's [expect], if the provider's document says otherwise.",
            )


def _as_expected(expect: Closed | RefusalExpected, got: object) -> bool:
    if isinstance(expect, Closed) or not isinstance(got, ProviderRefused):
        return expect == got
    return (
        got.kind is expect.kind
        and expect.code in {None, got.answer.code}
        and expect.description in {None, got.answer.description}
    )


def callbacks_are_understood(subject: Subject) -> None:
    """What a golden callback says is what the golden says: the notification, or the fault and its field."""
    for callback, golden in subject.told:
        try:
            got: object = received(callback, golden.account, golden.request)
        except CallbackRefused as refused:
            got = FaultExpected(refused.fault, refused.field)
        if got != golden.expect:
            raise subject.failure(
                "verify and decode make something else of the callback",
                golden=golden,
                expected=golden.expect,
                got=got,
                mend="Mend the callback's decoder; or the golden, if the provider's document says otherwise.",
            )


def received(callback: Callback[Any, Notification], account: Account[Any], request: HttpRequest) -> Notification:
    """What the gateway makes of a callback: first the signature, then the content. Raises CallbackRefused."""
    callback.verify(account, request)
    return callback.decode(account, request)


def answers_are_exact(subject: Subject) -> None:
    """What a golden answer becomes on the wire is the golden's reply, byte for byte and header for header."""
    for callback, golden in subject.told:
        got: HttpReply = callback.encode_reply(golden.account, golden.answer)
        if got != golden.reply:
            raise subject.failure(
                "encode_reply makes another answer",
                golden=golden,
                expected=golden.reply,
                got=got,
                mend="Mend encode_reply; or the golden, if the provider's document says otherwise.",
            )


def printed_forms_say_the_same(subject: Subject) -> None:
    """A body as the document prints it and as it travels are the same value: key order and number literals too."""
    for golden in subject.goldens:
        if isinstance(golden, UnsentGolden) or golden.printed is None:
            continue
        body = golden.request.body if isinstance(golden, CallGolden) else golden.reply.body
        if not wire.same_value(golden.printed, body):
            raise subject.failure(
                "the printed body says something else than the one that travels",
                golden=golden,
                expected=golden.printed,
                got=body,
                mend="Copy `printed` from the document once more, then make the other the same value.",
            )


CHECKS = (
    goldens_are_readable,
    every_operation_has_goldens,
    requests_are_exact,
    unsent_calls_are_refused,
    replies_are_understood,
    callbacks_are_understood,
    answers_are_exact,
    printed_forms_say_the_same,
)
