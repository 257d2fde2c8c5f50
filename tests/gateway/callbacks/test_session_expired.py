"""The SessionExpired column of the design's callback table, through the wire."""

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
    Doorway,
    Furnishing,
    House,
    open_house,
)


async def test_an_expiry_is_accepted_and_told(house: House, door: Doorway) -> None:
    """0, one event, one journal line; the session need not be known, nor the player have an account."""
    said = await house.deliver(door.path("SessionExpired"), EXPIRED)
    assert (said.status, said.body) == (200, b'{"error":0,"description":"Success"}')
    (event,) = await house.events()
    assert (event.type, event.provider) == (EventType.SESSION_EXPIRED, door.provider)
    assert (event.user_id, event.session_id) == (EXPIRED["userId"], EXPIRED["sessionId"])
    (line,) = await house.journal()
    assert (line.verdict, line.operation) == ("ACCEPTED", f"{door.version}/SessionExpired")
    assert line.reply.body == said.body
    assert not await house.items()


async def test_the_same_expiry_again_makes_no_second_event(house: House, door: Doorway) -> None:
    """Said again, with whatever token and uuid, an expiry must be accepted and kept, and told only once."""
    for uuid in ("a", "b"):
        again = {**EXPIRED, "uuid": uuid, "token": uuid}
        assert (await house.deliver(door.path("SessionExpired"), again)).json == SUCCESS
    assert len(await house.events()) == 1
    assert [line.verdict for line in await house.journal()] == ["ACCEPTED"] * 2


@pytest.mark.parametrize("name", ["providerId", "sessionId", "userId"])
async def test_what_identifies_the_session_is_required(house: House, door: Doorway, name: str) -> None:
    """64 naming the field, in the journal, without an event and without an item: no money is at stake."""
    body = {member: value for member, value in EXPIRED.items() if member != name}
    said = await house.deliver(door.path("SessionExpired"), {**body, "reference": "not-of-this-callback"})
    assert (said.status, said.json) == (200, {"error": 64, "description": f"Empty mandatory field '{name}'"})
    (line,) = await house.journal()
    assert (line.verdict, line.status) == ("FIELD_MISSING", 200)
    assert not await house.events()
    assert not await house.items()


@pytest.mark.parametrize("body", [b'{"providerId": "x" "sessionId": "y"}', b"[1]", b'{"userId":"1","userId":"2"}'])
async def test_what_is_not_the_dialect_is_57(house: House, door: Doorway, body: bytes) -> None:
    """The document's example without its commas, and other things that are not JSON objects: 57, kept."""
    said = await house.deliver(door.path("SessionExpired"), body)
    assert (said.status, said.json) == (200, UNREADABLE)
    assert [line.verdict for line in await house.journal()] == ["UNREADABLE"]
    assert not await house.events()


@pytest.mark.parametrize(("token", "code"), [(TOKEN, 0), ("another", 54), (None, 0)])
async def test_the_token_is_compared_only_where_configured(tmp_path: Path, token: Any, code: int) -> None:
    """With verify_token a token that is present must be ours: 54 and quarantined where it is not."""
    async with open_house(tmp_path, Furnishing(verify_token=True)) as house:
        said = await house.deliver(MONACO.path("SessionExpired"), {**EXPIRED, "token": token})
        assert (said.status, said.json["error"]) == (200, code)
        assert len(await house.events()) == (1 if code == 0 else 0)
        (line,) = await house.journal()
        assert line.verdict == ("ACCEPTED" if code == 0 else "CREDENTIALS_WRONG")


async def test_the_path_is_read_in_any_case_and_the_content_type_not_at_all(house: House, door: Doorway) -> None:
    """What the provider writes in another case, under whatever Content-Type, must be understood."""
    for operation, content_type in (("sessionexpired", "text/plain"), ("SESSIONEXPIRED", "application/xml")):
        path = f"/callbacks/{door.provider}/{door.key}/{door.version.swapcase()}/{operation}"
        assert (await house.deliver(path, EXPIRED, {"Content-Type": content_type})).json == SUCCESS
    assert [line.operation for line in await house.journal()] == [f"{door.version}/SessionExpired"] * 2


async def test_the_players_token_is_not_kept(house: House, door: Doorway) -> None:
    """The token in the message must be in neither the database nor its write-ahead log."""
    await house.deliver(door.path("SessionExpired"), EXPIRED)
    (line,) = await house.journal()
    assert str(EXPIRED["token"]).encode() not in line.request.body
    assert str(EXPIRED["sessionId"]).encode() in line.request.body
