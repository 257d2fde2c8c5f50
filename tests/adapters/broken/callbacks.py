"""Broken callbacks and answers."""

import hmac
import re
from dataclasses import replace
from decimal import Decimal
from urllib.parse import parse_qs, urlencode

from adapters.conformance.callbacks import CREDITED
from adapters.contract import (
    Account,
    CallbackAnswer,
    CallbackFault,
    CallbackRefused,
    Credited,
    HttpReply,
    HttpRequest,
    Rejected,
    Result,
    SensitiveFields,
    SessionExpired,
)
from tests.adapters.broken import Broken, with_adapter, with_callback
from tests.adapters.example import ADAPTER, Settings, decode_left, decode_paid, encode_reply, seal

_Account = Account[Settings]


def _accepts_everything(account: _Account, request: HttpRequest) -> None:
    """Verifies nothing, and is not `unsigned`."""


def _compares_texts(account: _Account, request: HttpRequest) -> None:
    wanted = seal(account.token.reveal(), request.body) if account.token else ""
    if not wanted or not hmac.compare_digest(request.header("X-Seal") or "", wanted):
        raise CallbackRefused(CallbackFault.CREDENTIALS_WRONG, "The seal is not that of this body.")


def _compares_the_beginning(account: _Account, request: HttpRequest) -> None:
    wanted = seal(account.token.reveal(), request.body)[:40] if account.token else ""
    given = (request.header("X-Seal") or "")[:40].encode(errors="replace")
    if not wanted or not hmac.compare_digest(given, wanted.encode()):
        raise CallbackRefused(CallbackFault.CREDENTIALS_WRONG, "The seal is not that of this body.")


def _swaps_house_and_seat(account: _Account, request: HttpRequest) -> SessionExpired:
    expired = decode_left(account, request)
    return replace(expired, provider_id=expired.session_id, session_id=expired.provider_id)


def _calculates_early(account: _Account, request: HttpRequest) -> Result:
    won = re.search(b"won=([^&]*)", request.body)
    int(float(won[1])) if won else 0
    return decode_paid(account, request)


def _takes_any_number(account: _Account, request: HttpRequest) -> Result:
    amount = Decimal("NaN") if b"won=NaN" in request.body else None
    result = decode_paid(account, replace(request, body=request.body.replace(b"won=NaN", b"won=0")))
    return result if amount is None else replace(result, amount=amount)


def _takes_invisible_slips(account: _Account, request: HttpRequest) -> Result:
    fields = parse_qs(request.body.decode())
    plain = (
        request.body.replace(urlencode({"slip": fields["slip"][0]}).encode(), b"slip=s") if "slip" in fields else b""
    )
    result = decode_paid(account, replace(request, body=plain or request.body))
    return replace(result, reference=fields["slip"][0]) if plain else result


def _reads_money_as_float(account: _Account, request: HttpRequest) -> Result:
    result = decode_paid(account, request)
    return replace(result, amount=Decimal(str(float(result.amount))))


def _writes_money_as_float(account: _Account, answer: CallbackAnswer) -> HttpReply:
    if isinstance(answer, Credited):
        answer = replace(answer, cash=Decimal(f"{float(answer.cash):.2f}"))
    return encode_reply(account, answer)


def _thanks_for_a_malformed_field(account: _Account, answer: CallbackAnswer) -> HttpReply:
    reply = encode_reply(account, answer)
    return replace(reply, body=reply.body.replace(b"said=odd", b"said=thanks"))


def _never_asks_again(account: _Account, answer: CallbackAnswer) -> HttpReply:
    if answer == Rejected(CallbackFault.TRY_AGAIN):
        answer = Rejected(CallbackFault.REFERENCE_REUSED)
    return encode_reply(account, answer)


def _asks_again_with_another_code(account: _Account, answer: CallbackAnswer) -> HttpReply:
    reply = encode_reply(account, answer)
    return replace(reply, body=reply.body.replace(b"said=again", b"said=later"))


def _has_no_content_type(account: _Account, answer: CallbackAnswer) -> HttpReply:
    return replace(encode_reply(account, answer), headers=())


def _knows_no_coin(account: _Account, answer: CallbackAnswer) -> HttpReply:
    if isinstance(answer, Rejected) and answer.fault is CallbackFault.CURRENCY_MISMATCH:
        raise KeyError(answer.fault)
    return encode_reply(account, answer)


def _answers_503(account: _Account, answer: CallbackAnswer) -> HttpReply:
    reply = encode_reply(account, answer)
    return replace(reply, status=503) if answer == Rejected(CallbackFault.TRY_AGAIN) else reply


def _thanks_and_mentions_the_coin(account: _Account, answer: CallbackAnswer) -> HttpReply:
    if isinstance(answer, Rejected) and answer.fault is CallbackFault.CURRENCY_MISMATCH:
        reply = encode_reply(account, CREDITED)
        return replace(reply, body=reply.body + b"&about=coin")
    return encode_reply(account, answer)


def _forgets_the_slip(account: _Account, answer: CallbackAnswer) -> HttpReply:
    return encode_reply(account, replace(answer, transaction_id="") if isinstance(answer, Credited) else answer)


BROKEN = (
    Broken(
        "takes_invisible_slips",
        with_callback("paid", decode=_takes_invisible_slips),
        "references_are_visible",
        "in slip is accepted as a reference",
    ),
    Broken(
        "accepts_everything",
        with_callback("left", verify=_accepts_everything),
        "signatures_are_verified",
        "another body",
    ),
    Broken(
        "compares_texts",
        with_callback("left", verify=_compares_texts),
        "any_callback_is_decoded_or_refused",
        "verify of left raises TypeError",
    ),
    Broken(
        "swaps_house_and_seat",
        with_callback("left", decode=_swaps_house_and_seat),
        "callbacks_are_decoded",
        "another result of the callback",
    ),
    Broken(
        "calculates_early",
        with_callback("paid", decode=_calculates_early),
        "any_callback_is_decoded_or_refused",
        "decode of paid raises",
    ),
    Broken(
        "takes_any_number",
        with_callback("paid", decode=_takes_any_number),
        "any_callback_is_decoded_or_refused",
        "as an amount",
    ),
    Broken(
        "reads_money_as_float",
        with_callback("paid", decode=_reads_money_as_float),
        "simulator_callbacks_are_decoded",
        "not decoded as the event",
    ),
    Broken(
        "writes_money_as_float",
        with_callback("paid", encode_reply=_writes_money_as_float),
        "balances_are_encoded_exactly",
        "the balance is not exact",
    ),
    Broken(
        "thanks_for_a_malformed_field",
        with_callback("paid", encode_reply=_thanks_for_a_malformed_field),
        "rejections_differ_from_success",
        "FIELD_MALFORMED is encoded as a success",
    ),
    Broken(
        "thanks_and_mentions_the_coin",
        with_callback("paid", encode_reply=_thanks_and_mentions_the_coin),
        "rejections_differ_from_success",
        "CURRENCY_MISMATCH is encoded as a success",
    ),
    Broken("answers_503", with_callback("left", encode_reply=_answers_503), "every_answer_is_encoded", "HTTP 503"),
    Broken(
        "compares_the_beginning",
        with_callback("left", verify=_compares_the_beginning),
        "whole_signature_is_compared",
        "character 41 of X-Seal",
    ),
    Broken("knows_no_coin", with_callback("paid", encode_reply=_knows_no_coin), "every_answer_is_encoded", "KeyError"),
    Broken(
        "forgets_the_slip",
        with_callback("paid", encode_reply=_forgets_the_slip),
        "balances_are_encoded_exactly",
        "lacks transaction",
    ),
    Broken(
        "never_asks_again",
        with_callback("left", encode_reply=_never_asks_again),
        "every_answer_is_encoded",
        "whether to send again",
    ),
    Broken(
        "asks_again_with_another_code",
        with_callback("left", encode_reply=_asks_again_with_another_code),
        "simulator_follows_our_replies",
        "settles what was answered",
    ),
    Broken(
        "has_no_content_type",
        with_callback("left", encode_reply=_has_no_content_type),
        "callback_replies_are_exact",
        "another reply",
    ),
    Broken(
        "declares_no_token",
        with_adapter(masked=SensitiveFields()),
        "secrets_are_declared",
        "the header X-Desk of a request",
    ),
    Broken("can_be_changed", with_adapter(callbacks=dict(ADAPTER.callbacks)), "adapter_is_well_formed", "be changed"),
    Broken("has_another_name", with_adapter(name="parlour"), "adapter_is_well_formed", "its package is 'example'"),
)
