"""A fourth adapter in `adapters/` is found, passes the suite and is served, without a change to another file."""

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
from tests.adapters import example
from tests.support.gateway import configuration, provider_table
from tests.support.process import run, serving

RUN_CHECKS = """
from adapters.conformance import checks_of
checks = checks_of("adapters.example")
for check in checks:
    check.run()
print(len(checks))
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a process with a copy of `adapters/` that has the fourth adapter."""
    copy = tmp_path / "dropped" / "adapters"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(adapters.__file__).parent, copy, ignore=ignored)
    shutil.copytree(Path(example.__file__).parent, copy / "example", ignore=ignored)
    return {**os.environ, "PYTHONPATH": str(copy.parent)}


def test_it_passes_the_conformance_suite(environ: dict[str, str]) -> None:
    """The conformance suite finds it by its package and passes it."""
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", RUN_CHECKS],
        cwd=environ["PYTHONPATH"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 20


async def test_it_is_found_and_served(environ: dict[str, str], tmp_path: Path) -> None:
    """A provider can be configured with it, is listed, and closes sessions at its simulator."""
    table = provider_table("parlour", "example", "http://127.0.0.1:1", house='"north"')
    config = configuration(tmp_path, table)
    checked = await run("check", "--config", str(config), environ=environ)
    assert checked.code == 0, checked.err
    simulate = ("simulate", "--provider", "parlour", "--session", "tester:s:whist")
    async with serving(config, *simulate, environ=environ) as simulator:
        config.write_text(config.read_text().replace("http://127.0.0.1:1", simulator.ready_message["listening"]))
        async with (
            serving(config, environ=environ) as gateway,
            grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel,
        ):
            stub = SessionServiceStub(channel)
            (listed,) = (await stub.ListProviders(pb.ListProvidersRequest())).providers
            assert (listed.name, listed.adapter) == ("parlour", "example")
            answer = await stub.CloseSession(pb.CloseSessionRequest(provider="parlour", user_id="tester"), timeout=30)
            assert answer.outcome == pb.OUTCOME_CLOSED
            assert answer.provider_answer.code == "cleared"


async def test_the_demo_shows_it_with_the_others(environ: dict[str, str]) -> None:
    """The demo shows every adapter that it finds."""
    ended = await run("demo", environ=environ)
    assert ended.code == 0, ended.out + ended.err
    assert json.dumps("example") in ended.out
