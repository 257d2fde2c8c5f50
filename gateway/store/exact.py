"""Exact arithmetic for money: nothing is rounded."""

from decimal import Context, Decimal, Inexact, InvalidOperation, Rounded

EXACT = Context(prec=200, traps=[Inexact, Rounded, InvalidOperation])
"""Adds without rounding, or raises: the widest amount has 32 digits, and no number of credits comes near 200."""

_ONE = Decimal(1)


def normalize(amount: Decimal) -> Decimal:
    """The one form of an amount: no exponent, and no trailing zeros."""
    least = amount.normalize(EXACT)
    if least.is_finite() and least == (whole := least.to_integral_value()):
        return whole.quantize(_ONE, context=EXACT)
    return least
