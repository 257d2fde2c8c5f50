"""A Result above a ceiling, over HTTP: refused once and for all deliveries, until an operator redelivers it."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.store.ceilings import Ceiling
from gateway.store.models import EventType
from tests.gateway.callbacks.harness import MONACO, CallbackHarness, HarnessOptions, open_harness
from tests.gateway.callbacks.wallet_harness import WalletHarness, open_wallet_harness
from tests.support.results import RESULT

CEILINGS = {"USD": Ceiling(max_amount=Decimal(10), max_amount_per_h=Decimal(25))}
ABOVE = {"error": 999, "description": "Amount above the limit"}


@pytest.fixture
async def limited(tmp_path: Path, url: str) -> AsyncIterator[CallbackHarness]:
    async with open_harness(tmp_path, HarnessOptions(url=url, ceilings=CEILINGS, busy_seconds=60)) as harness:
        await harness.open_account(opening="0")
        await harness.open_account(currency="EUR", opening="0")
        yield harness


@pytest.fixture
async def limited_wallet(tmp_path: Path, url: str) -> AsyncIterator[WalletHarness]:
    async with open_wallet_harness(tmp_path, url=url, ceilings=CEILINGS) as harness:
        yield harness


async def deliver(harness: CallbackHarness, reference: str, amount: Any, **members: Any) -> Any:
    body = {**RESULT, "reference": reference, "amount": amount, **members}
    return (await harness.deliver(MONACO.path("Result"), body)).json


async def test_a_result_above_the_ceiling_is_refused_until_it_is_redelivered(limited: CallbackHarness) -> None:
    """It is 999 each time with one item, which names the ceiling; a redelivery credits it once."""
    for _ in range(2):
        assert await deliver(limited, "big", "10.01") == ABOVE
    assert await limited.cash() == 0
    (item,) = await limited.items()
    assert (item.reference, item.fault, item.field) == ("big", "AMOUNT_ABOVE_LIMIT", "amount")
    assert "the amount 10.01 USD is above max_amount of 10 USD" in item.detail
    assert "redeliver" in item.detail
    lines = await limited.journal()
    assert [line.verdict for line in lines] == ["AMOUNT_ABOVE_LIMIT"] * 2

    for line in lines:
        assert (await limited.redeliver(line)).verdict == "CREDITED"
    assert await limited.cash() == Decimal("10.01")
    assert not await limited.items()
    assert (await deliver(limited, "big", "10.01"))["error"] == 0  # credited already, whatever the ceiling is
    assert await limited.cash() == Decimal("10.01")


async def test_the_prize_counts_and_the_other_currency_does_not(limited: CallbackHarness) -> None:
    """The ceiling is of amount and prize together; a currency that is not listed has none."""
    prize = {"promoWinAmount": "2", "promoWinReference": "prize"}
    assert await deliver(limited, "r1", "8.01", **prize) == ABOVE
    assert (await deliver(limited, "r2", "8", **prize))["error"] == 0
    assert (await deliver(limited, "r3", "1000000", currency="EUR"))["error"] == 0


async def test_an_hour_is_limited_and_counts_redeliveries(limited: CallbackHarness) -> None:
    """Above the sum of an hour it is 999; a redelivery is credited and counted."""
    assert (await deliver(limited, "r1", 10))["error"] == 0
    assert await deliver(limited, "big", 11) == ABOVE
    (line,) = [line for line in await limited.journal() if line.verdict == "AMOUNT_ABOVE_LIMIT"]
    await limited.redeliver(line)
    assert await deliver(limited, "r2", 5) == ABOVE
    assert (await deliver(limited, "r3", 4))["error"] == 0
    (item,) = await limited.items()
    assert "with the 21 USD credited in the hour before it, is above max_amount_per_h of 25 USD" in item.detail
    assert await limited.cash() == 25


async def test_the_reference_and_the_account_are_judged_first(limited: CallbackHarness) -> None:
    """Without an account, or with a known reference, the refusal is of that."""
    assert (await deliver(limited, "r1", 11, userId="nobody"))["error"] == 62
    await deliver(limited, "r2", 10)
    assert "already used" in (await deliver(limited, "r2", 11))["description"]


async def test_the_operators_wallet_is_not_asked(limited_wallet: WalletHarness) -> None:
    """A Result above the ceiling is not sent to the wallet, and leaves an item and its event; a redelivery sends it."""
    assert await limited_wallet.deliver({**RESULT, "amount": "10.01"}) == ABOVE
    assert not limited_wallet.wallet.received
    harness = limited_wallet.callbacks
    (item,) = await harness.items()
    assert (item.fault, item.field) == ("AMOUNT_ABOVE_LIMIT", "amount")
    assert await limited_wallet.event_types() == [EventType.RESULT_REFUSED]
    (line,) = await harness.journal()
    assert (await harness.redeliver(line)).verdict == "CREDITED"
    assert len(limited_wallet.wallet.received) == 1
