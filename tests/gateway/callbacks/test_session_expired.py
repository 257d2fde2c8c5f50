"""The SessionExpired column of the callback table in the design, over HTTP."""

from pathlib import Path
from typing import Any

import pytest

from gateway.store.models import EventType
from tests.gateway.callbacks.harness import (
    EXPIRED,
    MONACO,
    SUCCESS,
    TOKEN,
    UNREADABLE,
    CallbackEndpoint,
    CallbackHarness,
    HarnessOptions,
    open_harness,
)


async def test_an_expiry_is_accepted_and_recorded(harness: CallbackHarness, endpoint: CallbackEndpoint) -> None:
    """An expiry is 0 with one event and one journal line; neither session nor account need be known."""
    reply = await harness.deliver(endpoint.path("SessionExpired"), EXPIRED)
    assert (reply.status, reply.body) == (200, b'{"error":0,"description":"Success"}')
    (event,) = await harness.events()
    assert (event.type, event.provider) == (EventType.SESSION_EXPIRED, endpoint.provider)
    assert (event.user_id, event.session_id) == (EXPIRED["userId"], EXPIRED["sessionId"])
    (line,) = await harness.journal()
    assert (line.verdict, line.operation) == ("ACCEPTED", f"{endpoint.version}/SessionExpired")
    assert line.reply.body == reply.body
    assert event.time == line.ended_at
    assert not await harness.items()


async def test_a_repeated_expiry_makes_no_second_event(harness: CallbackHarness, endpoint: CallbackEndpoint) -> None:
    """A repeated expiry, with any token and uuid, is accepted and recorded, with one event in all."""
    for uuid in ("a", "b"):
        again = {**EXPIRED, "uuid": uuid, "token": uuid}
        assert (await harness.deliver(endpoint.path("SessionExpired"), again)).json == SUCCESS
    assert len(await harness.events()) == 1
    assert [line.verdict for line in await harness.journal()] == ["ACCEPTED"] * 2


@pytest.mark.parametrize("name", ["providerId", "sessionId", "userId"])
async def test_the_session_s_identity_is_required(
    harness: CallbackHarness, endpoint: CallbackEndpoint, name: str
) -> None:
    """A missing field is 64, which names it; it is recorded in the journal without an event and without an item."""
    body = {member: value for member, value in EXPIRED.items() if member != name}
    reply = await harness.deliver(endpoint.path("SessionExpired"), {**body, "reference": "not-of-this-callback"})
    assert (reply.status, reply.json) == (200, {"error": 64, "description": f"Empty mandatory field '{name}'"})
    (line,) = await harness.journal()
    assert (line.verdict, line.status) == ("FIELD_MISSING", 200)
    assert not await harness.events()
    assert not await harness.items()


@pytest.mark.parametrize("body", [b'{"providerId": "x" "sessionId": "y"}', b"[1]", b'{"userId":"1","userId":"2"}'])
async def test_an_unreadable_body_is_57(harness: CallbackHarness, endpoint: CallbackEndpoint, body: bytes) -> None:
    """The document's example without its commas, and other texts that are no JSON object, are 57 and recorded."""
    reply = await harness.deliver(endpoint.path("SessionExpired"), body)
    assert (reply.status, reply.json) == (200, UNREADABLE)
    assert [line.verdict for line in await harness.journal()] == ["UNREADABLE"]
    assert not await harness.events()


@pytest.mark.parametrize(("token", "code"), [(TOKEN, 0), ("another", 54), (None, 0)])
async def test_the_token_is_compared_only_if_configured(tmp_path: Path, token: Any, code: int) -> None:
    """With verify_token a token that is present and not ours is 54 and quarantined."""
    async with open_harness(tmp_path, HarnessOptions(verify_token=True)) as harness:
        reply = await harness.deliver(MONACO.path("SessionExpired"), {**EXPIRED, "token": token})
        assert (reply.status, reply.json["error"]) == (200, code)
        assert len(await harness.events()) == (1 if code == 0 else 0)
        (line,) = await harness.journal()
        assert line.verdict == ("ACCEPTED" if code == 0 else "CREDENTIALS_WRONG")


async def test_the_path_may_have_any_case_and_the_content_type_any_value(
    harness: CallbackHarness, endpoint: CallbackEndpoint
) -> None:
    """A path in another case, with any Content-Type, is accepted."""
    for operation, content_type in (("sessionexpired", "text/plain"), ("SESSIONEXPIRED", "application/xml")):
        path = f"/callbacks/{endpoint.provider}/{endpoint.key}/{endpoint.version.swapcase()}/{operation}"
        assert (await harness.deliver(path, EXPIRED, {"Content-Type": content_type})).json == SUCCESS
    assert [line.operation for line in await harness.journal()] == [f"{endpoint.version}/SessionExpired"] * 2


async def test_the_player_s_token_is_not_stored(harness: CallbackHarness, endpoint: CallbackEndpoint) -> None:
    """The player's token is masked in the journal."""
    await harness.deliver(endpoint.path("SessionExpired"), EXPIRED)
    (line,) = await harness.journal()
    assert str(EXPIRED["token"]).encode() not in line.request.body
    assert str(EXPIRED["sessionId"]).encode() in line.request.body
