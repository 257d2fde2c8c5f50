"""A disk that takes no more bytes: not ready, a Result is answered 998, and paid once afterwards."""

import resource
from pathlib import Path

import aiohttp

from tests.support.gateway import configuration, family_table
from tests.support.process import Serving, serving
from tests.support.results import result_body


def allow(gateway: Serving, size: int) -> None:
    """Let no file of the process grow beyond this size, as a full disk does."""
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def written(file: Path) -> int:
    """How many bytes it has."""
    return file.stat().st_size


async def readiness(http: aiohttp.ClientSession, gateway: Serving) -> tuple[int, str]:
    async with http.get(f"http://{gateway.ready_message['admin']}/readyz") as answer:
        return answer.status, await answer.text()


async def test_a_full_disk_is_not_ready_and_pays_once_afterwards(tmp_path: Path) -> None:
    """The probe of /readyz writes a row, so it sees what a Result would: both recover by themselves."""
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", "http://127.0.0.1:9"))
    async with serving(config) as gateway, aiohttp.ClientSession() as http:
        await gateway.open_account()
        assert await readiness(http, gateway) == (200, "ready\n")
        allow(gateway, written(tmp_path / "gateway.db-wal"))
        status, text = await readiness(http, gateway)
        assert status == 503
        assert "gateway.db" in text
        assert "disk" in text
        assert (await gateway.deliver(http, result_body("r1")))["error"] == 998
        allow(gateway, resource.RLIM_INFINITY)
        first = await gateway.deliver(http, result_body("r1"))
        again = await gateway.deliver(http, result_body("r1"))
        assert (first["error"], again["transactionId"]) == (0, first["transactionId"])
        assert await gateway.cash() == 11
        assert await readiness(http, gateway) == (200, "ready\n")
        await gateway.stop()
