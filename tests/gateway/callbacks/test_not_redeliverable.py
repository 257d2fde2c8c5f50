"""What cannot be redelivered, each with its reason: what hangs on a masked value, and what is not there."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from adapters.contract import Account, CallbackFault, CallbackRefused, HttpRequest, Result, Secret, SessionExpired
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from gateway.sessions.errors import GatewayError, Reason
from gateway.store.models import Direction, Exchange, Message
from tests.gateway.callbacks.harness import (
    EXPIRED,
    KYREN_EU,
    MONACO,
    OUR_TOKEN,
    TOKEN,
    Furnishing,
    House,
    altered,
    clock,
    open_house,
)
from tests.gateway.callbacks.redelivering import obstacle, redelivered, refused
from tests.support.results import RESULT


@pytest.mark.parametrize("token", [TOKEN, "wrong", None, 7])
@pytest.mark.parametrize("ours", [OUR_TOKEN, None])
async def test_a_masked_credential_that_is_compared_is_refused(
    tmp_path: Path, token: object, ours: Secret | None
) -> None:
    """With verify_token nobody can tell what the token was: redelivered, right and wrong ones would look alike."""
    told = {**EXPIRED, "secureLogin": "partner-1", "token": token}
    misspelt = Furnishing(secure_login="misspelt", verify_token=True, token=ours)
    async with open_house(tmp_path, misspelt) as house:
        await house.deliver(MONACO.path("SessionExpired"), told)
        original = await refused(house, "CREDENTIALS_WRONG")
        # Whatever the token was, this is what the provider would be told: it is no secret that decides it.
        assert (await redelivered(house, original)).verdict == "CREDENTIALS_WRONG"
    async with open_house(tmp_path, replace(misspelt, secure_login="partner-1")) as house:
        assert "masked" in await obstacle(house, original)
        assert not await house.events()


async def test_a_masked_credential_that_is_demanded_is_refused(tmp_path: Path) -> None:
    """A dialect that demands the right token is not told that it came: only our own in its place would pass."""

    def demanding(account: Account[Any], request: HttpRequest) -> SessionExpired:
        if json.loads(request.body)["token"] != TOKEN or account.settings.secure_login != "partner-1":
            raise CallbackRefused(CallbackFault.CREDENTIALS_WRONG, "not ours", field="token")
        return SessionExpired("p", "s", "u")

    adapter = altered(LUCKYMONACO, decode=demanding)
    async with open_house(tmp_path, Furnishing(adapter=adapter, secure_login="misspelt")) as house:
        await house.deliver(MONACO.path("SessionExpired"), EXPIRED)
        original = await refused(house, "CREDENTIALS_WRONG")
    async with open_house(tmp_path, Furnishing(adapter=adapter)) as house:
        assert "masked" in await obstacle(house, original)


async def test_a_masked_part_of_a_value_is_refused(tmp_path: Path) -> None:
    """A mask inside a value that is read stands for what nobody can tell, also where we have no token at all."""
    async with open_house(tmp_path, Furnishing(token=None)) as house:
        await house.deliver(MONACO.path("Result"), {**RESULT, "reference": f"r-{TOKEN}"})
        original = await refused(house, "ACCOUNT_UNKNOWN")
        assert b'"r-***"' in original.request.body
        await house.open_account()
        assert "masked" in await obstacle(house, original)


@pytest.mark.parametrize("name", ["reference", "userId", "roundid", "gameId"])
async def test_a_masked_value_inside_a_result_is_refused(house: House, name: str) -> None:
    """A Result that says one of our secrets is kept with a mask in it: credited as it is kept it would be another."""
    await house.deliver(MONACO.path("Result"), {**RESULT, name: TOKEN})
    (original,) = await house.journal()
    await house.open_account()
    await house.open_account(user_id="***")
    assert "masked" in await obstacle(house, original)
    assert await house.cash(user_id="***") == 100


async def test_a_signature_over_what_is_masked_is_refused(tmp_path: Path) -> None:
    """What was signed with the values under the masks cannot be verified without them, whatever was mended."""

    def signed(account: Account[Any], request: HttpRequest) -> None:
        if b"***" in request.body or account.settings.secure_login != "partner-1":
            raise CallbackRefused(CallbackFault.CREDENTIALS_WRONG, "the signature is wrong")

    told = {**EXPIRED, "secureLogin": "partner-1"}
    adapter = altered(LUCKYMONACO, verify=signed)
    async with open_house(tmp_path, Furnishing(adapter=adapter, secure_login="misspelt")) as house:
        await house.deliver(MONACO.path("SessionExpired"), told)
        original = await refused(house, "CREDENTIALS_WRONG")
    async with open_house(tmp_path, Furnishing(adapter=adapter)) as house:
        assert "masked" in await obstacle(house, original)


# --- What cannot be redelivered ---------------------------------------------------------------------------------------


async def test_an_unknown_callback_is_told_so(house: House) -> None:
    """An id that no line of the journal has is CALLBACK_UNKNOWN."""
    with pytest.raises(GatewayError) as raised:
        await house.redeliveries.redeliver("nothing", "ada", "mended")
    assert raised.value.reason is Reason.CALLBACK_UNKNOWN


async def test_what_succeeded_is_not_redelivered(house: House) -> None:
    """There is nothing left to do for a callback that was accepted or credited."""
    await house.open_account()
    await house.deliver(MONACO.path("Result"), RESULT)
    await house.deliver(MONACO.path("SessionExpired"), EXPIRED)
    credited, accepted = await house.journal()
    assert "CREDITED" in await obstacle(house, credited)
    assert "ACCEPTED" in await obstacle(house, accepted)


async def test_a_call_of_ours_is_not_redelivered(house: House) -> None:
    """The journal's other lines are calls to the provider: not callbacks, though their request has a body."""
    moment = clock()
    line = Exchange(
        id="outbound",
        direction=Direction.OUTBOUND,
        provider=MONACO.provider,
        operation="V4/Result",
        method="POST",
        path="/V4/Result",
        request=Message("", json.dumps(RESULT).encode()),
        started_at=moment,
        ended_at=moment,
        verdict="PROVIDER_FAILED",
    )
    await house.store.record_exchange(line)
    await house.open_account()
    assert "request_id" in await obstacle(house, line)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\xff\xfe", "not text"),
        (b"\x00", "not text"),
        (b"", "without a body"),
        (b" " * 200_000, "too large"),
        (json.dumps(RESULT).encode().replace(b'"spin"', b'"%s"' % (b"x" * 70_000)), "too long"),
    ],
    ids=["no UTF-8", "NUL", "empty", "too large", "cut"],
)
async def test_what_was_not_kept_whole_is_not_redelivered(tmp_path: Path, body: bytes, why: str) -> None:
    """Where the whole body is not there, the reason says what became of it, and to ask the provider."""
    async with open_house(tmp_path, Furnishing(body_limit=100_000)) as house:
        await house.deliver(MONACO.path("Result"), body)
        (line,) = await house.journal()
        await house.open_account()
        said = await obstacle(house, line)
    assert why in said
    assert "have the provider send it again" in said


async def test_a_trimmed_body_is_not_redelivered(house: House) -> None:
    """A body that was taken away by age cannot be delivered, and the reason says so."""
    await house.deliver(MONACO.path("Result"), b"{")
    assert await house.store.trim_bodies(clock() + timedelta(seconds=1), 10) == 1
    (line,) = await house.journal()
    assert "by age" in await obstacle(house, line)


async def test_without_its_provider_it_is_not_redelivered(tmp_path: Path) -> None:
    """A provider that is not served any more, or a dialect without that callback, is named."""
    async with open_house(tmp_path) as house:
        await house.deliver(KYREN_EU.path("Result"), RESULT)
        of_kyren = await refused(house, "ACCOUNT_UNKNOWN")
        await house.deliver(MONACO.path("Result"), RESULT)
        _, of_monaco = await house.journal()
    expiries = {"V4/SessionExpired": LUCKYMONACO.callbacks["V4/SessionExpired"]}
    silent = replace(LUCKYMONACO, callbacks=MappingProxyType(expiries))
    async with open_house(tmp_path, Furnishing(kyren=False, adapter=silent)) as house:
        await house.open_account()
        assert "'kyren-eu' has no callbacks" in await obstacle(house, of_kyren)
        assert "does not serve POST V4/Result" in await obstacle(house, of_monaco)
    asked = altered(LUCKYMONACO, method="PUT")
    async with open_house(tmp_path, Furnishing(adapter=asked)) as house:
        assert "does not serve POST V4/Result" in await obstacle(house, of_monaco)
        assert await house.cash() == Decimal(100)


async def test_an_adapters_bug_is_no_obstacle(tmp_path: Path) -> None:
    """A decoder that fails is reported where the callback is judged: TRY_AGAIN, with an error id."""

    def broken(_: object, __: object) -> Result:
        raise RuntimeError("bug")

    told = {**EXPIRED, "secureLogin": "partner-1"}
    async with open_house(tmp_path, Furnishing(secure_login="misspelt")) as house:
        await house.deliver(MONACO.path("SessionExpired"), told)
        original = await refused(house, "CREDENTIALS_WRONG")
    async with open_house(tmp_path, Furnishing(adapter=altered(LUCKYMONACO, decode=broken, verify=broken))) as house:
        line = await redelivered(house, original)
        assert line.verdict == "TRY_AGAIN"
        assert "error id" in line.detail
