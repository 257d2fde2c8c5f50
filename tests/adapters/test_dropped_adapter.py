"""A fourth adapter, dropped into `adapters/`, is found, proved and served, and no other file changes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

import adapters
from gateway.v1 import session_service_pb2 as pb
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.adapters import madeup
from tests.support.gateway import configuration, provider_table
from tests.support.process import run, serving

PROVE = """
from adapters.conformance import checks_of
checks = checks_of("adapters.madeup")
for check in checks:
    check.run()
print(len(checks))
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that sees a copy of `adapters/` with the fourth one in it."""
    copy = tmp_path / "dropped" / "adapters"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(adapters.__file__).parent, copy, ignore=ignored)
    shutil.copytree(Path(madeup.__file__).parent, copy / "madeup", ignore=ignored)
    return {**os.environ, "PYTHONPATH": str(copy.parent)}


def test_it_is_proved_by_the_conformance_suite(environ: dict[str, str]) -> None:
    """The suite runs over it as over the others, by its name alone."""
    proved = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", PROVE],
        cwd=environ["PYTHONPATH"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert proved.returncode == 0, proved.stderr
    assert int(proved.stdout) > 20


async def test_it_is_found_and_served(environ: dict[str, str], tmp_path: Path) -> None:
    """A configured provider may name it: it is listed, and closes sessions at its simulated provider."""
    table = provider_table("parlour", "madeup", "http://127.0.0.1:1", house='"north"')
    config = configuration(tmp_path, table)
    checked = await run("check", "--config", str(config), environ=environ)
    assert checked.code == 0, checked.err
    simulate = ("simulate", "--provider", "parlour", "--session", "tester:s:whist")
    async with serving(config, *simulate, environ=environ) as simulator:
        config.write_text(config.read_text().replace("http://127.0.0.1:1", simulator.said["listening"]))
        async with (
            serving(config, environ=environ) as gateway,
            grpc.aio.insecure_channel(gateway.said["grpc"]) as channel,
        ):
            stub = SessionServiceStub(channel)
            (listed,) = (await stub.ListProviders(pb.ListProvidersRequest())).providers
            assert (listed.name, listed.adapter) == ("parlour", "madeup")
            answer = await stub.CloseSession(pb.CloseSessionRequest(provider="parlour", user_id="tester"), timeout=5)
            assert answer.outcome == pb.OUTCOME_CLOSED
            assert answer.provider_answer.code == "cleared"


async def test_the_demo_shows_it_with_the_others(environ: dict[str, str]) -> None:
    """The demo takes every adapter that it finds, from its own goldens."""
    ended = await run("demo", environ=environ)
    assert ended.code == 0, ended.out + ended.err
    assert json.dumps("madeup") in ended.out
