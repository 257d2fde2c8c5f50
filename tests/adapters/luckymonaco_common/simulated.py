"""What the tests of both simulators start from."""

import json
from typing import Any

import pytest

from adapters.contract import HttpRequest
from adapters.kyren import ADAPTER as KYREN
from adapters.kyren.simulator import SIMULATOR as KYREN_SIMULATOR
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from adapters.luckymonaco.simulator import SIMULATOR as LUCKYMONACO_SIMULATOR
from adapters.simulation import PlayerSession

SESSIONS = (
    PlayerSession("s-1", "u-1", "g_1_fortune"),
    PlayerSession("s-2", "u-1", "g_2_baccarat"),
    PlayerSession("s-3", "u-2", "g_1_fortune"),
)
MEMBERS = [
    pytest.param(LUCKYMONACO, LUCKYMONACO_SIMULATOR, "V4", id="luckymonaco"),
    pytest.param(KYREN, KYREN_SIMULATOR, "v1", id="kyren"),
]
members = pytest.mark.parametrize(("adapter", "simulator", "version"), MEMBERS)
REQUIRED = {"secureLogin": "partner", "userId": "u-1", "token": "t0ken", "uuid": "0" * 32}


def close_posted(version: str, body: dict[str, Any] | bytes) -> HttpRequest:
    """A CloseSession with this body."""
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpRequest(
        "POST", f"/{version}/CloseSession", headers=(("Content-Type", "application/json"),), body=written
    )
