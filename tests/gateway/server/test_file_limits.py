"""The limits on connections fit into the limit of open files."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.config import CallbackSettings, GrpcSettings, ProviderSettings, Settings, load
from gateway.outbound.limits import Limits
from gateway.server import file_limits
from gateway.server.file_limits import (
    ADMIN_FILES,
    MIN_CALLS,
    MIN_CONNECTIONS,
    PROCESS_FILES,
    file_needs,
    fit_limits,
    log_too_few_files,
    too_few_files,
)
from gateway.server.wallet_server import WalletServer
from tests.support.configured import read
from tests.support.gateway import configuration, family_table, running_gateway
from tests.support.process import run_here, serving

PROVIDERS = family_table("one", "luckymonaco", "http://127.0.0.1:1", limits="{ max_concurrent_calls = 30 }")
PROVIDERS += family_table("two", "luckymonaco", "http://127.0.0.1:1")
POSTGRES = '[store]\nurl = "postgresql://u@127.0.0.1/x"\npool_size = 5\n'


def _ceilings(settings: Settings) -> list[int]:
    calls = [provider.limits.max_concurrent_calls for provider in settings.providers.values()]
    return [settings.callbacks.max_connections, settings.grpc.max_connections, *calls]


def test_the_configured_limits_are_added_up(tmp_path: Path) -> None:
    """Callbacks twice, since evicted connections stay open for a while; a retired provider has none."""
    limits = "[callbacks]\nmax_connections = 50\n[grpc]\nmax_connections = 20\n"
    retired = "[providers.old]\nretired = true\n"
    needs = file_needs(read(tmp_path, limits + POSTGRES + PROVIDERS + retired))
    assert (needs.callbacks, needs.grpc, needs.providers, needs.store, needs.admin) == (100, 20, 130, 13, 100)
    assert needs.total == PROCESS_FILES + 363
    assert file_needs(read(tmp_path, limits + PROVIDERS)).store == 0


@given(
    limit=st.integers(32, 100_000),
    callbacks=st.integers(1, 20_000),
    grpc=st.integers(1, 20_000),
    calls=st.lists(st.integers(1, 2000), max_size=20),
)
def test_what_fits(limit: int, callbacks: int, grpc: int, calls: list[int]) -> None:
    """Limits that fit stay as they are. Otherwise none rises, and all fit together beside what the process itself, its
    store, and health and metrics need, except where a limit is at its least.
    """
    settings = Settings(
        callbacks=CallbackSettings(max_connections=callbacks),
        grpc=GrpcSettings(max_connections=grpc),
        providers={
            str(index): ProviderSettings(str(index), limits=Limits(max_concurrent_calls=each))
            for index, each in enumerate(calls)
        },
    )
    fitted = fit_limits(settings, limit)
    if file_needs(settings).total <= limit:
        assert fitted is settings
        return
    before, after = _ceilings(settings), _ceilings(fitted)
    assert all(lower <= upper for lower, upper in zip(after, before, strict=True))
    least = [MIN_CONNECTIONS, MIN_CONNECTIONS, *[MIN_CALLS] * len(calls)]
    assert all(new >= min(old, at_least) for new, old, at_least in zip(after, before, least, strict=True))
    if all(new > at_least for new, at_least in zip(after, least, strict=True)):
        assert PROCESS_FILES + ADMIN_FILES + file_needs(fitted).connections <= limit


async def test_a_gateway_serves_with_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its listeners and its calls have the lower limits, and a reload is compared with the file."""
    monkeypatch.setattr(file_limits, "file_limit", lambda: 400)
    async with running_gateway(tmp_path, PROVIDERS) as running:
        gateway = running.gateway
        places = gateway.callback_server.limits.places
        assert places.connections == int(1000 * (400 - PROCESS_FILES - ADMIN_FILES) / 3130)
        assert gateway.rpc_server.limits.connections == places.connections
        assert gateway.providers["one"].admission.limits.max_concurrent_calls == 3
        assert gateway.providers["two"].admission.limits.max_concurrent_calls == 10
        third = family_table("three", "luckymonaco", "http://127.0.0.1:1")
        found = await gateway.reload(load(configuration(tmp_path, PROVIDERS, third), {}))
        assert (found.added, found.changed) == (("three",), ())
        assert gateway.providers["three"].admission.limits.max_concurrent_calls == 9


async def test_the_wallet_serves_with_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the limit of a gateway with this file."""
    monkeypatch.setattr(file_limits, "file_limit", lambda: 400)
    settings = load(configuration(tmp_path, PROVIDERS), {})
    assert WalletServer(settings)._rpc.limits.connections == fit_limits(settings, 400).grpc.max_connections < 1000


async def test_check_advises_of_too_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the numbers and what to do, and refuses nothing."""
    config = configuration(tmp_path, PROVIDERS)
    fits = await run_here("check", "--config", str(config))
    assert "open files" not in fits.err
    monkeypatch.setattr(file_limits, "file_limit", lambda *, hard: 400 if hard else 1)
    advised = await run_here("check", "--config", str(config))
    assert advised.code == 0
    (line,) = [line for line in advised.err.splitlines() if "open files" in line]
    assert line.startswith("advice: the configured limits need 3294 open files (process 64, admin 100, store 0, ")
    assert "a process may open 400" in line
    assert "LimitNOFILE" in line
    assert "ulimit -Hn" in line


def test_too_few_files_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning; none where the limits fit."""
    settings = load(configuration(tmp_path, PROVIDERS), {})
    with capture_logs() as lines:
        monkeypatch.setattr(file_limits, "file_limit", lambda: 3294)
        log_too_few_files(settings)
        monkeypatch.setattr(file_limits, "file_limit", lambda: 3293)
        log_too_few_files(settings)
    (line,) = lines
    assert (line["log_level"], line["limit"], line["needed"]) == ("warning", 3293, 3294)
    assert too_few_files(settings, 3293)[0].message == line["error"]


@contextmanager
def _lower_soft_limit(to: int) -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (to, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("command", ["serve", "wallet"])
async def test_a_server_raises_its_soft_limit(tmp_path: Path, command: str) -> None:
    """To the hard one, so that the common 1,024 does not hold."""
    with _lower_soft_limit(1000) as hard:
        async with serving(configuration(tmp_path), command) as server:
            assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
