"""Money: exact in, exact out, and nothing but a plain decimal."""

import json
import re
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.luckymonaco_common.money import NotMoney, plain, read_money
from tests.adapters.luckymonaco_common.messages import AMOUNTS


@given(AMOUNTS)
def test_every_digit_survives_both_ways(text: str) -> None:
    """An amount of the form is read exactly and written back digit for digit, whatever the context's precision."""
    with localcontext(prec=3):
        amount = read_money(text)
        assert plain(amount) == text
    assert json.loads(plain(amount), parse_float=Decimal, parse_int=Decimal) == Decimal(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=0).filter(lambda d: abs(d.adjusted()) < 60))
def test_no_exponent_is_ever_written(amount: Decimal) -> None:
    """Any Decimal is written as plain digits of the same value."""
    written = plain(amount)
    assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", written)
    assert Decimal(written) == amount


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "-1",
            "+1",
            "-0",
            "1e2",
            "1E2",
            "1.",
            ".5",
            "01",
            "00",
            "1_0",
            " 1",
            "1 ",
            "1\n",
            "1,5",
            "NaN",
            "Infinity",
        ),
        *("\u0661", "1.\u0661", "0x1", "1.1234567890123456789", "9" * 33, "9" * 15 + "." + "9" * 18, "9" * 1_000_000),
    ],
)
def test_refuses_what_is_not_of_the_form(text: str) -> None:
    """A sign, an exponent, another alphabet's digits, spaces or a digit too many: not an amount."""
    with pytest.raises(NotMoney):
        read_money(text)


@given(st.text("0123456789.-+eE_ \u0661", max_size=36))
def test_what_is_read_has_the_form(text: str) -> None:
    """Nothing is read but ASCII digits, one point, at most 32 digits and 18 after the point."""
    try:
        read_money(text)
    except NotMoney:
        return
    assert re.fullmatch(r"(0|[1-9][0-9]*)(\.[0-9]{1,18})?", text)
    assert sum(map(str.isdecimal, text)) <= 32
