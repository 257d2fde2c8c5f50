"""Encodes our answers to the family's callbacks: always HTTP 200, with the dialect's code.

Documents: 002_7007c2a68586bb11.txt and 004_a93688c609d824ae.txt, response parameters; codes from public revisions.
"""

import msgspec

from adapters.contract import Accepted, Account, CallbackAnswer, CallbackFault, Credited, HttpReply, Rejected
from adapters.luckymonaco_common.money import plain
from adapters.luckymonaco_common.settings import FamilySettings


class _Status(msgspec.Struct, frozen=True):
    error: int
    description: str


class _Balance(msgspec.Struct, frozen=True, rename="camel"):
    transaction_id: str
    currency: str
    cash: msgspec.Raw
    bonus: msgspec.Raw | msgspec.UnsetType
    error: int
    description: str


def encode_reply(_account: Account[FamilySettings], answer: CallbackAnswer) -> HttpReply:
    """Any answer in the dialect. A fault of the gateway is 998, 'send again', without details."""
    return HttpReply(200, (("Content-Type", "application/json"),), msgspec.json.encode(_members(answer)))


def _members(answer: CallbackAnswer) -> _Status | _Balance:
    match answer:
        case Accepted():
            return _Status(0, "Success")
        case Credited():
            return _Balance(
                transaction_id=answer.transaction_id,
                currency=answer.currency,
                # Raw, since msgspec would write some numbers with an exponent or as a float.
                cash=msgspec.Raw(plain(answer.cash).encode()),
                bonus=msgspec.UNSET if answer.bonus is None else msgspec.Raw(plain(answer.bonus).encode()),
                error=0,
                description="Success",
            )
        case Rejected():
            code, description, with_field = _FAULTS[answer.fault]
            field = _DIALECT_NAMES.get(answer.field, answer.field)
            return _Status(code, with_field.format(field) if field else description)


_FAULTS = {
    CallbackFault.UNREADABLE: (57, "Invalid parameters", "Invalid parameters"),
    CallbackFault.CREDENTIALS_WRONG: (54, "Wrong credentials", "Wrong {}"),
    CallbackFault.FIELD_MISSING: (64, "Empty mandatory field", "Empty mandatory field '{}'"),
    CallbackFault.FIELD_MALFORMED: (57, "Invalid parameters", "Invalid parameter '{}'"),
    CallbackFault.AMOUNT_INVALID: (59, "Invalid amount", "Invalid amount in '{}'"),
    CallbackFault.AMOUNT_ABOVE_LIMIT: (999, "Amount above the limit", "Amount above the limit"),
    CallbackFault.REFERENCE_REUSED: (999, "Reference already used", "Reference already used with another '{}'"),
    CallbackFault.ACCOUNT_UNKNOWN: (62, "Player not found", "Player not found"),
    CallbackFault.CURRENCY_MISMATCH: (52, "Currency is not the player's", "Currency is not the player's"),
    CallbackFault.TRY_AGAIN: (998, "Internal error, send again", "Internal error, send again"),
}
"""For each fault its code, the description without a field, and the description with one."""

_DIALECT_NAMES = {
    "user_id": "userId",
    "round_id": "roundId",
    "game_id": "gameId",
    "promo_amount": "promoWinAmount",
    "promo_reference": "promoWinReference",
}
"""The dialect's names of the fields in which a reused reference can differ, where they are not the gateway's."""
