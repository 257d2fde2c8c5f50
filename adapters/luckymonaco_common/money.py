"""Money as the family writes it: a plain decimal, as a JSON number or as a string, never through a float."""

import re
from decimal import Decimal

MAX_DIGITS = 32
_MONEY = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]{1,18})?")


class NotMoney(Exception):
    """A text that is not an amount: a sign, an exponent, a leading zero, too many digits, or no number at all."""


def read_money(text: str) -> Decimal:
    """The exact amount, not negative, at most 32 digits of which 18 after the point. Raises NotMoney."""
    if not _MONEY.fullmatch(text) or len(text.replace(".", "")) > MAX_DIGITS:
        raise NotMoney
    return Decimal(text)


def plain(amount: Decimal) -> str:
    """The amount as a JSON number with every digit and no exponent."""
    return format(amount, "f")
