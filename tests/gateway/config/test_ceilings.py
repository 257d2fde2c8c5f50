"""Ceilings of a provider's amounts, as `load` reads them."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.config import ConfigInvalid, Deployment, changes, production_warnings, requires_restart
from tests.support.configured import read

PROVIDER = """
[providers.kyren]
adapter = "kyren"
base_url = "https://kyren.example"
secure_login = "partner-1"
token = "token-of-32-characters-aaaaaaaaaa"
callback_keys = ["key-of-32-characters-and-more-bbbbbb"]
"""


def test_ceilings_are_read(tmp_path: Path) -> None:
    """Each currency has its own amounts, exactly as written; without the keys there are none."""
    plain = read(tmp_path, PROVIDER).providers["kyren"]
    assert (plain.max_amount, plain.max_amount_per_h) == ({}, {})
    keys = 'max_amount = { USD = "100.50", USDT20 = "0.000000000000000001" }\nmax_amount_per_h = { USD = "1000" }'
    provider = read(tmp_path, PROVIDER + keys).providers["kyren"]
    assert provider.max_amount == {"USD": Decimal("100.50"), "USDT20": Decimal("1E-18")}
    assert provider.max_amount_per_h == {"USD": Decimal(1000)}


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ("{ USD = 100 }", "max_amount.USD", "in quotes"),
        ("{ USD = 99.5 }", "max_amount.USD", "in quotes"),
        ('{ USD = "1e5" }', "max_amount.USD", "is not an amount"),
        ('{ USD = "-1" }', "max_amount.USD", "is not an amount"),
        ("{ USD = true }", "max_amount.USD", "must be a string"),
        ('{ usd = "1" }', "max_amount.usd", "currency code"),
        ('"100"', "max_amount", "must be a table"),
    ],
)
def test_a_malformed_ceiling_is_refused(tmp_path: Path, value: str, path: str, message: str) -> None:
    """The problem has the path of the currency, and says what to write."""
    for key in ("max_amount", "max_amount_per_h"):
        with pytest.raises(ConfigInvalid) as refused:
            read(tmp_path, f"{PROVIDER}{key} = {value}")
        (problem,) = refused.value.problems
        assert problem.path == f"providers.kyren.{path.replace('max_amount', key)}"
        assert message in problem.message


def test_a_reload_applies_ceilings(tmp_path: Path) -> None:
    """A changed amount needs no restart."""
    before = read(tmp_path, PROVIDER + 'max_amount = { USD = "100" }')
    after = read(tmp_path, PROVIDER + 'max_amount = { USD = "200" }')
    found = changes(before, after)
    assert found.changed == ("providers.kyren.max_amount.USD",)
    assert not requires_restart(found)


@pytest.mark.parametrize(("keys", "warned"), [("", True), ('max_amount = { USD = "1" }', False)])
def test_a_provider_without_a_ceiling_is_warned_of(tmp_path: Path, keys: str, warned: bool) -> None:
    """For production: its callback keys alone pay any amount."""
    found = [problem.path for problem in production_warnings(Deployment(read(tmp_path, PROVIDER + keys)))]
    assert ("providers.kyren.max_amount" in found) == warned
