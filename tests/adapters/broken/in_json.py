"""Broken variations of Kyren's adapter, for faults that need JSON: the example's dialect has forms."""

import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from adapters.conformance import Case
from adapters.contract import Account, CallbackAnswer, CallbackFault, HttpReply, HttpRequest, Rejected, Result
from adapters.kyren import ADAPTER
from tests.adapters.broken import Broken

GOOD = Case.of("adapters.kyren")
RESULT = ADAPTER.callbacks["v1/Result"]


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
