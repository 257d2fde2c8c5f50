"""The forms of what travels in the WalletService, the same for whoever serves it and whoever asks."""

import re
from decimal import Decimal

LONGEST_ID = 255
"""Characters."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MONEY = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]{1,18})?", re.ASCII)
_MOST_DIGITS = 32
_CURRENCY = re.compile(r"[A-Z0-9]{3,10}", re.ASCII)


def has_control(text: str) -> bool:
    """Whether a control character is in it, which no id and no short text may have."""
    return _CONTROL.search(text) is not None


def is_currency(text: str) -> bool:
    """Whether it is a code of ISO 4217, or of a vendor's for a crypto currency."""
    return _CURRENCY.fullmatch(text) is not None


def money(text: str) -> Decimal | None:
    """The exact amount, where it is one: no sign, no exponent, at most 18 digits after the point and 32 in all."""
    if not _MONEY.fullmatch(text) or sum(map(str.isdigit, text)) > _MOST_DIGITS:
        return None
    return Decimal(text)


def money_text(amount: Decimal) -> str:
    """The amount in plain digits, each of them kept."""
    return format(amount, "f")
