"""Golden exchanges: a dialect as exact text, one TOML file an exchange, each with its source document.

They are written by hand in `<adapter's package>/golden/*.toml`. Each has `source`, `operation` and [account]. A call's
golden has [call], [attempt], [request], [reply] and [expect]; one that `encode` refuses has no [request] and [reply]. A
callback's golden has [request], then [notification] or [expect], then [answer] and [reply]. The module `golden_form`
lists every key.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeVar

import msgspec

from adapters import golden_form as form
from adapters.contract import (
    Accepted,
    Account,
    Adapter,
    Attempt,
    CallbackAnswer,
    CallbackFault,
    Closed,
    CloseSession,
    Credited,
    FieldInvalid,
    HttpReply,
    HttpRequest,
    Notification,
    Outcome,
    ProviderAnswer,
    RefusalKind,
    Rejected,
    Result,
    Secret,
    SessionExpired,
    Unsupported,
)

CLOSE_SESSION = "close_session"

T = TypeVar("T")


class GoldenInvalid(Exception):
    """A golden file does not have the form. The message names the file, the key and the problem."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"The golden {file} does not have the form: {problem}. Correct that file.")
        self.file = file
        self.problem = problem


@dataclass(frozen=True, slots=True)
class RefusalExpected:
    """`decode` raises ProviderRefused of this kind, with this code and description where the golden gives them."""

    kind: RefusalKind
    code: str | None
    description: str | None


@dataclass(frozen=True, slots=True)
class UnsentExpected:
    """`encode` raises this refusal, naming this field."""

    refusal: type[Unsupported] | type[FieldInvalid]
    field: str


@dataclass(frozen=True, slots=True)
class FaultExpected:
    """`verify` or `decode` raises CallbackRefused with this fault, naming this field."""

    fault: CallbackFault
    field: str


@dataclass(frozen=True, slots=True)
class _Exchange:
    name: str
    source: str
    operation: str
    account: Account[Any]


@dataclass(frozen=True, slots=True)
class CallGolden(_Exchange):
    """A call that is sent, its reply, and the expected result. `printed` is the body as the document prints it."""

    call: CloseSession
    attempt: Attempt
    request: HttpRequest
    printed: bytes | None
    reply: HttpReply
    expect: Closed | RefusalExpected


@dataclass(frozen=True, slots=True)
class UnsentGolden(_Exchange):
    """A call that the dialect cannot express, which `encode` refuses."""

    call: CloseSession
    attempt: Attempt
    expect: UnsentExpected


@dataclass(frozen=True, slots=True)
class CallbackGolden(_Exchange):
    """A callback, its notification or fault, our answer, and the reply that encodes the answer."""

    request: HttpRequest
    expect: Notification | FaultExpected
    answer: CallbackAnswer
    reply: HttpReply
    printed: bytes | None


Golden = CallGolden | UnsentGolden | CallbackGolden


def files_of(package: str) -> dict[str, bytes]:
    """The golden files of an adapter's package, by name, sorted; empty where it has none."""
    folder = files(package).joinpath("golden")
    if not folder.is_dir():
        return {}
    found = sorted((entry.name, entry) for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {name: entry.read_bytes() for name, entry in found}


def parse(file: str, content: bytes, adapter: Adapter[Any]) -> Golden:
    """One golden exchange of this adapter. Raises GoldenInvalid, naming the file and the key."""
    try:
        return _golden(file, tomllib.loads(content.decode()), adapter)
    except UnicodeDecodeError as error:
        raise GoldenInvalid(file, f"it is not UTF-8 ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise GoldenInvalid(file, f"it is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise GoldenInvalid(file, str(error)) from error


# --- From the file's tables to the contract's values. All raise msgspec.ValidationError; `parse` adds the file --------


def _golden(name: str, table: Mapping[str, Any], adapter: Adapter[Any]) -> Golden:
    operation = table.get("operation")
    if operation == CLOSE_SESSION and adapter.close_session is not None:
        return _call_golden(name, msgspec.convert(table, form.CallFile), adapter)
    if operation in adapter.callbacks:
        return _callback_golden(name, msgspec.convert(table, form.CallbackFile), adapter)
    known = ", ".join((*([CLOSE_SESSION] if adapter.close_session else []), *adapter.callbacks))
    raise msgspec.ValidationError(f"`operation` is {operation!r}; the adapter {adapter.name!r} has {known}")


def _call_golden(name: str, file: form.CallFile, adapter: Adapter[Any]) -> CallGolden | UnsentGolden:
    exchange = (name, file.source, file.operation, _account(file.account, adapter))
    call, attempt = _value(file.call, CloseSession), _value(file.attempt, Attempt)
    match file.request, file.reply:
        case None, None:
            return UnsentGolden(*exchange, call, attempt, _unsent_expected(file.expect))
        case form.RequestTable() as request, form.ReplyTable() as reply:
            expect = _sent_expected(file.expect, reply.status)
            return CallGolden(
                *exchange, call, attempt, _request(request), _printed(request.printed), _reply(reply), expect
            )
    raise msgspec.ValidationError("[request] or [reply] is alone: give both, or neither for a call that is not sent")


def _unsent_expected(expect: form.CallExpectTable) -> UnsentExpected:
    match expect:
        case form.CallExpectTable(unsupported=str(field), field_invalid=None, outcome=None, refusal=None):
            return UnsentExpected(Unsupported, field)
        case form.CallExpectTable(unsupported=None, field_invalid=str(field), outcome=None, refusal=None):
            return UnsentExpected(FieldInvalid, field)
    raise msgspec.ValidationError("[expect] takes one of `unsupported` and `field_invalid` where nothing is sent")


def _sent_expected(expect: form.CallExpectTable, status: int) -> Closed | RefusalExpected:
    if (expect.unsupported, expect.field_invalid) == (None, None):
        match expect:
            case form.CallExpectTable(outcome=Outcome() as outcome, refusal=None, code=str(code)):
                return Closed(outcome, ProviderAnswer(code, expect.description or "", status))
            case form.CallExpectTable(outcome=None, refusal=RefusalKind() as kind):
                return RefusalExpected(kind, expect.code, expect.description)
    raise msgspec.ValidationError("[expect] takes either `outcome` and `code`, or `refusal`")


def _callback_golden(name: str, file: form.CallbackFile, adapter: Adapter[Any]) -> CallbackGolden:
    return CallbackGolden(
        *(name, file.source, file.operation, _account(file.account, adapter)),
        request=_request(file.request),
        expect=_callback_expected(file),
        answer=_answer(file.answer),
        reply=_reply(file.reply),
        printed=_printed(file.reply.printed),
    )


def _callback_expected(file: form.CallbackFile) -> Notification | FaultExpected:
    match file.notification, file.expect:
        case None, form.FaultTable() as expect:
            return _value(expect, FaultExpected)
        case form.SessionExpiredTable() as expired, None:
            return _value(expired, SessionExpired)
        case form.ResultTable() as result, None:
            return _value(result, Result)
    raise msgspec.ValidationError("a callback takes either [notification], or [expect] with a `fault`")


def _answer(answer: form.AcceptedTable | form.CreditedTable | form.RejectedTable) -> CallbackAnswer:
    match answer:
        case form.AcceptedTable():
            return Accepted()
        case form.CreditedTable():
            return _value(answer, Credited)
        case form.RejectedTable():
            return _value(answer, Rejected)


def _account(account: form.AccountTable, adapter: Adapter[Any]) -> Account[Any]:
    try:
        settings = msgspec.convert(account.settings, adapter.settings)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{error}, in [account.settings]") from error
    return Account(account.provider, settings, None if account.token is None else Secret(account.token))


def _value(table: form.Table, kind: type[T]) -> T:
    """The contract's value with the table's fields: amounts become Decimal, tokens become Secret."""
    return msgspec.convert(table, kind, from_attributes=True, dec_hook=lambda secret, text: secret(text))


def _request(request: form.RequestTable) -> HttpRequest:
    return HttpRequest(request.method, request.path, request.query, request.headers, request.body.encode())


def _reply(reply: form.ReplyTable) -> HttpReply:
    return HttpReply(reply.status, reply.headers, reply.body.encode())


def _printed(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
