"""The formats of the WalletService's fields, the same for its server and its client."""

import re
from decimal import Decimal

MAX_ID_LENGTH = 255
"""Characters."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MONEY = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]{1,18})?", re.ASCII)
_MAX_DIGITS = 32
_CURRENCY = re.compile(r"[A-Z0-9]{3,10}", re.ASCII)


def has_control(text: str) -> bool:
    """Whether it has a control character, which no id and no short text may have."""
    return _CONTROL.search(text) is not None


def is_currency(text: str) -> bool:
    """Whether it is a code of ISO 4217, or a vendor's code of a crypto currency."""
    return _CURRENCY.fullmatch(text) is not None


def money(text: str) -> Decimal | None:
    """The exact amount, where it is one: no sign, no exponent, at most 18 digits after the point and 32 in all."""
    if not _MONEY.fullmatch(text) or sum(map(str.isdigit, text)) > _MAX_DIGITS:
        return None
    return Decimal(text)


def money_text(amount: Decimal) -> str:
    """The amount in plain digits, with trailing zeros."""
    return format(amount, "f")
