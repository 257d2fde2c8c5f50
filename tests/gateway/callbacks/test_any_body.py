"""Any body is answered with HTTP 200 in the dialect, and the balance changes only if the reply says so."""

from decimal import Decimal
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.callbacks.harness import CallbackEndpoint, CallbackHarness
from tests.support.bodies import BODIES, CODES, corpus, credits_in, mutated


@given(body=BODIES, operation=st.sampled_from(["Result", "SessionExpired"]))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_body_is_answered_in_the_dialect(
    harness: CallbackHarness, endpoint: CallbackEndpoint, body: bytes, operation: str
) -> None:
    """The status is 200 with a known code, there is a journal line, and only a credited amount changes the balance."""
    await check_delivery(harness, endpoint, body, operation)


async def test_the_corpus_is_answered_in_the_dialect(harness: CallbackHarness, endpoint: CallbackEndpoint) -> None:
    """So are the saved bodies, as they are, and a mutation of each."""
    random = Random(13)  # noqa: S311 - no secret
    for body in corpus():
        for operation in ("Result", "SessionExpired"):
            await check_delivery(harness, endpoint, body, operation)
            await check_delivery(harness, endpoint, mutated(random, [body], "another"), operation)
    assert not await harness.store.discrepancies()


async def check_delivery(harness: CallbackHarness, endpoint: CallbackEndpoint, body: bytes, operation: str) -> None:
    await harness.open_account(opening="0")
    await harness.open_account(currency="EUR", opening="0")
    before, known, lines = await balances(harness), await credited(harness), len(await harness.journal())
    reply = await harness.deliver(endpoint.path(operation), body)
    assert reply.status == 200
    assert reply.json["error"] in CODES
    assert len(await harness.journal()) == lines + 1
    new = {key: amount for key, amount in (await credited(harness)).items() if key not in known}
    assert await balances(harness) - before == sum(new.values())
    if new:
        assert (operation, reply.json["error"]) == ("Result", 0)
        sent = credits_in(body)
        assert all(
            provider == endpoint.provider and sent[reference] == new[provider, reference] for provider, reference in new
        )


async def balances(harness: CallbackHarness) -> Decimal:
    return await harness.cash() + await harness.cash(currency="EUR")


async def credited(harness: CallbackHarness) -> dict[tuple[str, str], Decimal]:
    """The transactions of the player, by provider and reference."""
    page = await harness.store.credits_of("421", limit=10_000)
    return {(each.content.provider, each.content.reference): each.content.amount for each in page.entries}
