"""Broken variations of Kyren's adapter, for faults that need JSON: the example's dialect has forms."""

import json
import re
from codecs import BOM_UTF8
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from adapters.conformance import Case
from adapters.contract import (
    Account,
    CallbackAnswer,
    CallbackFault,
    CallbackRefused,
    Closed,
    CloseSessionCall,
    HttpReply,
    HttpRequest,
    Rejected,
    Result,
)
from adapters.kyren import ADAPTER
from tests.adapters.broken import Broken

GOOD = Case.of("adapters.kyren")
RESULT = ADAPTER.callbacks["v1/Result"]
_CLOSE: CloseSessionCall[Any] = ADAPTER.close_session  # type: ignore[assignment]  # it has one


def _with_result(**changes: Any) -> Case:
    callbacks = {**ADAPTER.callbacks, "v1/Result": replace(RESULT, **changes)}
    return replace(GOOD, adapter=replace(ADAPTER, callbacks=MappingProxyType(callbacks)))


def _decode(account: Account[Any], request: HttpRequest) -> Result:
    result = RESULT.decode(account, request)
    assert isinstance(result, Result)
    return result


def _members(request: HttpRequest) -> dict[str, Any]:
    """The members as a lenient parser reads them, numbers as text; none where there is no object."""
    try:
        members = json.loads(request.body, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def _keeps_the_last(account: Account[Any], request: HttpRequest) -> Result:
    members = _members(request)
    return _decode(account, replace(request, body=json.dumps(members).encode()) if members else request)


def _calculates(account: Account[Any], request: HttpRequest) -> Result:
    members = _members(request)
    if members.get("amount") == "1.5e1":
        request = replace(request, body=json.dumps({**members, "amount": "15"}).encode())
    return _decode(account, request)


def _refuses_an_exponent(account: Account[Any], request: HttpRequest) -> Result:
    if re.search(rb":[ ]*[0-9.]+[eE]", request.body):
        raise CallbackRefused(CallbackFault.AMOUNT_INVALID, "an exponent", field="amount")
    return _decode(account, request)


def _refuses_a_mark(account: Account[Any], request: HttpRequest) -> Result:
    if request.body.startswith(BOM_UTF8):
        raise CallbackRefused(CallbackFault.UNREADABLE, "not JSON")
    return _decode(account, request)


def _closes_without_a_mark(account: Account[Any], reply: HttpReply) -> Closed:
    return _CLOSE.decode(account, replace(reply, body=reply.body.removeprefix(BOM_UTF8[:2])))


def _cuts_the_session(account: Account[Any], request: HttpRequest) -> Result:
    result = _decode(account, request)
    return replace(result, session_id=result.session_id[:32])


def _rejects_with_code_zero(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    if isinstance(answer, Rejected) and answer.fault is CallbackFault.CURRENCY_MISMATCH:
        return HttpReply(200, (), b'{"error":0,"description":"Currency is not the player\'s"}')
    return RESULT.encode_reply(account, answer)


BROKEN = (
    Broken(
        "keeps_the_last_member",
        _with_result(decode=_keeps_the_last),
        "duplicate_fields_are_refused",
        "occurs twice, and one of its values is accepted",
    ),
    Broken(
        "calculates",
        _with_result(decode=_calculates),
        "amounts_are_parsed_strictly",
        "'1.5e1' in amount is accepted as an amount",
    ),
    Broken(
        "refuses_an_exponent",
        _with_result(decode=_refuses_an_exponent),
        "json_numbers_may_have_an_exponent",
        "the JSON number 1.5e1 in amount is not the amount 15",
    ),
    Broken(
        "refuses_a_mark",
        _with_result(decode=_refuses_a_mark),
        "byte_order_mark_is_skipped",
        "a byte order mark before the body changes the notification",
    ),
    Broken(
        "closes_without_a_mark",
        replace(GOOD, adapter=replace(ADAPTER, close_session=replace(_CLOSE, decode=_closes_without_a_mark))),
        "byte_order_mark_changes_no_outcome",
        "a byte order mark before the answer changes the outcome",
    ),
    Broken(
        "cuts_the_session",
        _with_result(decode=_cuts_the_session),
        "callback_ids_are_unchanged",
        "not decoded as the event",
    ),
    Broken(
        "rejects_with_code_zero",
        _with_result(encode_reply=_rejects_with_code_zero),
        "rejections_differ_from_success",
        "CURRENCY_MISMATCH is encoded as a success",
    ),
)
