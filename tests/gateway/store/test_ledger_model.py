"""The ledger of both engines, compared with a plain model: dicts, and a second implementation of the rules."""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store.base import Store
from gateway.store.models import Applied, Balance, Posting, PostingFault, PostingRefused
from tests.gateway.store.samples import NOW, deliver

_examples = count(1)

REUSED = PostingFault.REFERENCE_REUSED


@dataclass
class Model:
    """What the ledger must do, without concurrency, crashes or SQL."""

    cash: dict[tuple[str, str], Decimal]
    results: dict[str, Posting] = field(default_factory=dict)
    prizes: dict[str, tuple[object, ...]] = field(default_factory=dict)

    def apply(self, posting: Posting) -> Decimal | PostingRefused:
        """The balance after it, or the refusal."""
        account = (posting.user_id, posting.currency)
        prize = (*account, posting.promo_amount, posting.round_id, posting.game_id)
        if posting.reference in self.prizes:
            return PostingRefused(REUSED, "reference")
        if (known := self.results.get(posting.reference)) is not None:
            return self._repeated(known, posting)
        if posting.promo_reference and not self._prize_fits(posting, prize):
            return PostingRefused(REUSED, "promo_reference")
        if account not in self.cash:
            has_another = posting.user_id in {user for user, _ in self.cash}
            if has_another:
                return PostingRefused(PostingFault.CURRENCY_MISMATCH, "currency")
            return PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")
        self.results[posting.reference] = posting
        self.cash[account] += posting.amount
        if posting.promo_amount is not None and posting.promo_reference not in self.prizes:
            self.prizes[posting.promo_reference] = prize
            self.cash[account] += posting.promo_amount
        return self.cash[account]

    def _repeated(self, known: Posting, posting: Posting) -> Decimal | PostingRefused:
        for name in ("user_id", "currency", "amount", "round_id", "game_id", "promo_amount", "promo_reference"):
            if getattr(known, name) != getattr(posting, name):
                return PostingRefused(REUSED, name)
        return self.cash[posting.user_id, posting.currency]

    def _prize_fits(self, posting: Posting, prize: tuple[object, ...]) -> bool:
        reference = posting.promo_reference
        free = reference != posting.reference and reference not in self.results
        return free and self.prizes.get(reference, prize) == prize


def _postings(provider: str, prefix: str) -> st.SearchStrategy[list[Posting]]:
    amounts = st.sampled_from([Decimal(text) for text in ("0", "0.1", "0.10", "1E-18", "1E+2")])
    references = st.sampled_from(["r1", "r2", "r3", "r4"])
    prizes = st.one_of(st.just((None, "")), st.tuples(amounts, references))

    @st.composite
    def one(draw: st.DrawFn) -> Posting:
        promo_amount, promo_reference = draw(prizes)
        return Posting(
            provider=provider,
            reference=draw(references),
            user_id=prefix + draw(st.sampled_from(["u1", "u1", "u2", "nobody"])),
            currency=draw(st.sampled_from(["EUR", "EUR", "EUR", "USD"])),
            amount=draw(amounts),
            round_id=draw(st.sampled_from(["a", "a", "a", "b"])),
            game_id=draw(st.sampled_from(["g", "g", "g", "h"])),
            session_id=draw(st.sampled_from(["s", "t"])),
            promo_amount=promo_amount,
            promo_reference=promo_reference,
        )

    return st.lists(one(), min_size=1, max_size=15)


# One database serves all examples: each has its users and its provider.
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), at_once=st.booleans())
async def test_the_ledger_does_what_the_model_does(store: Store, data: st.DataObject, at_once: bool) -> None:
    """One by one or all at once in few batches, every outcome and every balance is the model's."""
    prefix = f"{next(_examples)}-"
    postings = data.draw(_postings(f"provider-{prefix}", prefix))
    model = Model(
        {(prefix + "u1", "EUR"): Decimal(5), (prefix + "u1", "USD"): Decimal(0), (prefix + "u2", "EUR"): Decimal(7)}
    )
    for (user_id, currency), opening in model.cash.items():
        await store.open_account(user_id, currency, opening, NOW)

    if at_once:
        results = await asyncio.gather(*(deliver(store, posting) for posting in postings))
    else:
        results = [await deliver(store, posting) for posting in postings]

    first_ids: dict[str, str] = {}
    for posting, result in zip(postings, results, strict=True):
        expected = model.apply(posting)
        assert expected == (result.cash if isinstance(result, Applied) else result)
        if isinstance(result, Applied):
            assert result.replayed == (posting.reference in first_ids)
            assert first_ids.setdefault(posting.reference, result.transaction_id) == result.transaction_id
    for (user_id, currency), cash in model.cash.items():
        assert await store.balance(user_id, currency) == Balance(currency, cash)
