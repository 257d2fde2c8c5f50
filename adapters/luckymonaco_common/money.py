"""Money as the family writes it: a plain decimal, as a string or a JSON number, never through a float.

A JSON number may have an exponent: Java writes 10000000 as 1.0E7.
"""

import re
from decimal import Decimal

MAX_DIGITS = 32
_MAX_LITERAL = 100
"""Characters of a number with an exponent, and the exponent itself."""
_MONEY = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]{1,18})?")


class NotMoney(Exception):
    """A text that is not an amount: a sign, an exponent, a leading zero, too many digits, or no number at all."""


def read_money(text: str) -> Decimal:
    """The exact amount, not negative, at most 32 digits of which 18 after the point. Raises NotMoney."""
    if not _MONEY.fullmatch(text) or len(text.replace(".", "")) > MAX_DIGITS:
        raise NotMoney
    return Decimal(text)


def read_money_number(literal: str) -> Decimal:
    """As `read_money`, for a JSON number: with an exponent its plain form must be an amount. Raises NotMoney."""
    exponent = literal.lower().partition("e")[2]
    if not exponent:
        return read_money(literal)
    # Bounded before Decimal writes it plainly: 1e999999 has a million digits.
    if len(literal) > _MAX_LITERAL or abs(int(exponent)) > _MAX_LITERAL:
        raise NotMoney
    return read_money(plain(Decimal(literal)))


def plain(amount: Decimal) -> str:
    """The amount as a JSON number with every digit and no exponent."""
    return format(amount, "f")
