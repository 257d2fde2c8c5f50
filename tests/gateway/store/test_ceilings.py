"""Ceilings on both engines: no hour exceeds them, whatever comes at the same time, and each Result is credited once."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.store.base import Store
from gateway.store.ceilings import Ceiling, amount_of
from gateway.store.models import Applied, Balance, Posting, PostingFault, PostingRefused
from tests.gateway.store.conftest import Database
from tests.gateway.store.samples import NOW, cash, opened, posting, records_of

_examples = count(1)

SEVEN = Decimal(7)
HOURLY = Ceiling(max_amount_per_h=Decimal(100))
REFUSED = PostingFault.AMOUNT_ABOVE_LIMIT


async def deliver(store: Store, posting: Posting, ceiling: Ceiling | None, now: datetime = NOW) -> bool:
    """Apply a posting; whether it is applied. Any refusal is the ceiling's."""
    outcome = (await store.apply(posting, now, records_of(posting), ceiling)).outcome
    return _is_applied(outcome)


async def credit(
    store: Store, posting: Posting, ceiling: Ceiling, now: datetime, outcome: Applied | PostingRefused | None
) -> bool:
    """Credit a posting in the operator's wallet, which answers `outcome`; None where its answer is lost."""
    refused = await store.admit(posting, ceiling, now)
    if refused is None and outcome is not None:
        await store.record_outcome(posting, outcome, records_of(posting), now, limited=ceiling.counts)
    return refused is None or _is_applied(refused)


def _is_applied(outcome: Applied | PostingRefused) -> bool:
    if isinstance(outcome, PostingRefused):
        assert (outcome.fault, outcome.field) == (REFUSED, "amount")
        assert outcome.above is not None
        return False
    return True


def _applied(posting: Posting) -> Applied:
    return Applied(f"t-{posting.reference}", posting.currency, Decimal(0), replayed=False)


@dataclass
class Model:
    """The rules again, over a plain list: what was credited, and when."""

    ceiling: Ceiling
    credited: dict[str, Posting] = field(default_factory=dict)
    prizes: set[str] = field(default_factory=set)
    times: list[tuple[datetime, Decimal]] = field(default_factory=list)

    def apply(self, posting: Posting, now: datetime, *, confirmed: bool) -> bool:
        if posting.reference in self.credited:
            return True
        amount = posting.amount
        if posting.promo_amount is not None and posting.promo_reference not in self.prizes:
            amount += posting.promo_amount
        oldest = now.replace(second=0, microsecond=0) - timedelta(minutes=60)
        hour = sum((each for at, each in self.times if at >= oldest), Decimal(0)) + amount
        above = (self.ceiling.max_amount is not None and amount > self.ceiling.max_amount) or (
            self.ceiling.max_amount_per_h is not None and hour > self.ceiling.max_amount_per_h
        )
        if above and amount and not confirmed:
            return False
        self.credited[posting.reference] = posting
        if posting.promo_reference:
            self.prizes.add(posting.promo_reference)
        self.times.append((now, amount))
        return True


AMOUNTS = st.sampled_from([Decimal(text) for text in ("0", "1", "0.000000000000000001", "30", "40", "60.5", "100")])


@st.composite
def _deliveries(draw: st.DrawFn) -> list[tuple[Posting, timedelta, bool]]:
    """Results of few references with one content each, the time that passes before each, and who confirmed it."""
    contents: dict[str, Posting] = {}
    deliveries = []
    for _ in range(draw(st.integers(1, 14))):
        reference = draw(st.sampled_from(["r1", "r2", "r3", "r4", "r5", "r6"]))
        if reference not in contents:
            prize = draw(st.none() | AMOUNTS)
            contents[reference] = posting(
                reference,
                amount=draw(AMOUNTS),
                promo_amount=prize,
                promo_reference="" if prize is None else f"prize-{reference}",
            )
        minutes = draw(st.sampled_from([0, 0, 0, 1, 20, 59, 60, 61]))
        deliveries.append(
            (contents[reference], timedelta(minutes=minutes), draw(st.sampled_from([False] * 4 + [True])))
        )
    return deliveries


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    deliveries=_deliveries(),
    ceiling=st.builds(Ceiling, st.none() | st.just(Decimal(50)), st.none() | st.just(Decimal(100))),
    remote=st.booleans(),
)
async def test_the_ceilings_do_what_the_model_does(
    store: Store, deliveries: list[tuple[Posting, timedelta, bool]], ceiling: Ceiling, remote: bool
) -> None:
    """In either wallet each is credited or refused as in the model, and the balance is their sum."""
    name = f"p-{next(_examples)}"
    model, now = Model(ceiling), NOW
    await store.open_account(name, "EUR", Decimal(0), NOW)
    for content, passed, confirmed in deliveries:
        one = structs.replace(content, provider=name, user_id=name)
        now += passed
        limits = Ceiling(ceiling.max_amount, ceiling.max_amount_per_h, confirmed)
        if remote:
            got = await credit(store, one, limits, now, _applied(one))
        else:
            got = await deliver(store, one, limits, now)
        assert got == model.apply(one, now, confirmed=confirmed)
    if not remote:
        credited = sum((amount_of(each) for each in model.credited.values()), Decimal(0))
        assert await cash(store, name) == credited


async def test_a_storm_never_exceeds_an_hour(store: Store) -> None:
    """Of 60 concurrent Results of 7, each delivered twice, exactly 14 fit into 100, and one of 2 still does."""
    await opened(store)
    storm = [posting(f"r{number}", amount=Decimal(7)) for number in range(60)] * 2
    results = await asyncio.gather(*(deliver(store, each, HOURLY) for each in storm))
    credited = {each.reference for each, applied in zip(storm, results, strict=True) if applied}
    assert len(credited) == 14
    assert await store.balance("player-1", "EUR") == Balance("EUR", Decimal(98))
    assert await deliver(store, posting("small", amount=Decimal(2)), HOURLY)
    assert not await deliver(store, posting("smaller", amount=Decimal("0.01")), HOURLY)


async def test_a_storm_never_exceeds_an_hour_in_the_operators_wallet(store: Store) -> None:
    """The same where each is admitted before the wallet is asked."""
    storm = [posting(f"r{number}", amount=Decimal(7)) for number in range(60)] * 2
    results = await asyncio.gather(*(credit(store, each, HOURLY, NOW, _applied(each)) for each in storm))
    credited = {each.reference for each, applied in zip(storm, results, strict=True) if applied}
    assert len(credited) == 14
    assert await credit(store, one := posting("small", amount=Decimal(2)), HOURLY, NOW, _applied(one))
    assert not await credit(store, posting("smaller", amount=Decimal("0.01")), HOURLY, NOW, None)


def seven(player: str, currency: str, number: int) -> Posting:
    return posting(f"{player}-{currency}-{number}", user_id=player, currency=currency, amount=SEVEN)


async def test_gateways_share_an_hour(emptied_url: str, long_timeouts: None) -> None:
    """Three gateways, each with its own player, credit no more than one would; a restart forgets nothing."""
    database = Database(emptied_url)
    stores = [database() for _ in range(3)]
    players = [f"player-{number}" for number in range(3)]
    for store in stores:
        await store.open()
    for player in players:
        await stores[0].open_account(player, "EUR", Decimal(0), NOW)
        await stores[0].open_account(player, "USD", Decimal(0), NOW)
    for number in range(20):  # in step, so that their transactions overlap
        await asyncio.gather(
            *(
                deliver(store, seven(player, currency, number), HOURLY)
                for store, player in zip(stores, players, strict=True)
                for currency in ("EUR", "USD")
            )
        )
    for store in stores:
        await store.close()
    again = database()
    await again.open()
    for currency in ("EUR", "USD"):
        assert sum([await cash(again, player, currency) for player in players]) == 98
        more = posting(f"more-{currency}", user_id=players[0], currency=currency, amount=Decimal(3))
        assert not await deliver(again, more, HOURLY)
    await again.close()


async def test_what_the_operators_wallet_did_not_credit_no_longer_counts(store: Store) -> None:
    """A refusal of the wallet frees its amount; an unknown outcome counts once, until its outcome is stored."""
    refused = PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")
    first, lost, last = (posting(name, amount=Decimal(60)) for name in ("first", "lost", "last"))
    assert await credit(store, first, HOURLY, NOW, refused)
    assert await credit(store, lost, HOURLY, NOW, None)
    assert not await credit(store, last, HOURLY, NOW, None)
    assert await credit(store, lost, HOURLY, NOW, _applied(lost))
    assert not await credit(store, last, HOURLY, NOW, None)
    assert await credit(store, lost, Ceiling(Decimal(1), Decimal(1)), NOW, _applied(lost))  # it is credited already


async def test_two_answers_of_the_operators_wallet_count_once(store: Store) -> None:
    """Two deliveries of one Result are admitted once; the amount counts if either answer credits it."""
    one = posting(amount=Decimal(60))
    assert await store.admit(one, HOURLY, NOW) is None
    assert await store.admit(one, HOURLY, NOW) is None
    refused = PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")
    for outcome in (refused, _applied(one), _applied(one)):
        await store.record_outcome(one, outcome, records_of(one), NOW, limited=True)
    assert not await credit(store, posting("r2", amount=Decimal(41)), HOURLY, NOW, None)
    assert await credit(store, two := posting("r3", amount=Decimal(40)), HOURLY, NOW, _applied(two))


async def test_a_loss_is_never_above_a_ceiling(store: Store) -> None:
    """A Result of 0 is applied also where redeliveries have exceeded the hour."""
    await opened(store)
    confirmed = Ceiling(Decimal(1), Decimal(100), confirmed=True)
    assert await deliver(store, posting("big", amount=Decimal(500)), confirmed)
    assert await deliver(store, posting("loss", amount=Decimal(0)), HOURLY)
    assert not await deliver(store, posting("win", amount=Decimal(1)), HOURLY)


async def test_without_a_ceiling_nothing_is_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no ceiling by hour is configured, no window is read or written."""
    monkeypatch.setattr("gateway.store.ceilings.encode", None)
    monkeypatch.setattr("gateway.store.ceilings.decode", None)
    await opened(store)
    assert await deliver(store, posting("r1"), None)
    assert await deliver(store, posting("r2"), Ceiling(max_amount=Decimal(50)))
    assert not await deliver(store, posting("r3"), Ceiling(max_amount=Decimal(1)))
