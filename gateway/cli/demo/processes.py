"""The demo's processes: one simulator per provider, and a gateway that is configured with all of them."""

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.cli.demo.examples import Example

START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 12


class ProcessFailed(Exception):
    """A process did not start, or did not exit 0. The message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the processes listen."""

    gateway: Mapping[str, str]
    """By listener: grpc, callbacks, admin."""
    simulators: Mapping[str, str]
    """Base URL by adapter."""
    callbacks: Mapping[str, str]
    """The gateway's callback URL by adapter, for those that deliver callbacks."""


@dataclass(frozen=True, slots=True)
class DemoProcess:
    """A `session-gateway` process. It prints one line of JSON when it listens."""

    name: str
    log: Path
    process: asyncio.subprocess.Process

    async def listening(self) -> dict[str, Any]:
        """Wait for that line. Raises ProcessFailed if there is none."""
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await self.process.stdout.readline()
            return msgspec.json.decode(line, type=dict[str, Any])
        except (TimeoutError, msgspec.MsgspecError):
            raise ProcessFailed(f"{self.name} did not start: {self._end_of_log()}") from None

    async def exited(self) -> None:
        """Wait for its end, and kill it if it takes too long. Raises ProcessFailed if it does not exit 0."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                code = await self.process.wait()
        except TimeoutError:
            self.process.kill()
            code = await self.process.wait()
        if code != 0:
            raise ProcessFailed(f"{self.name} exited {code} on SIGTERM, not 0: {self._end_of_log()}")

    def _end_of_log(self) -> str:
        return self.log.read_text(errors="replace").strip()[-2000:] or "its log is empty"


class ProcessGroup:
    """Starts processes in a folder and ends them together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[DemoProcess] = []

    async def start(self, name: str, *arguments: str) -> DemoProcess:
        """Start `session-gateway` with these arguments. Its log goes to a file."""
        log = self._folder / f"{name}.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                cwd=self._folder,
            )
        started = DemoProcess(name, log, process)
        self._processes.append(started)
        return started

    async def stop(self) -> None:
        """Send SIGTERM to all and wait for them. Raises ProcessFailed if one does not exit 0."""
        for each in self._processes:
            if each.process.returncode is None:
                each.process.terminate()
        results = await asyncio.gather(*(each.exited() for each in self._processes), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result


@contextlib.asynccontextmanager
async def run_processes(
    examples: Sequence[Example], folder: Path, faults: Mapping[str, str]
) -> AsyncIterator[Addresses]:
    """Start all processes on free ports, and end them; `faults` by adapter. Raises ProcessFailed."""
    group = ProcessGroup(folder)
    try:
        yield await _start_all(group, examples, folder, faults)
    except BaseException:
        with contextlib.suppress(ProcessFailed):  # the first error is the one to report
            await group.stop()
        raise
    await group.stop()


async def _start_all(
    group: ProcessGroup, examples: Sequence[Example], folder: Path, faults: Mapping[str, str]
) -> Addresses:
    keys = {example.adapter: secrets.token_urlsafe(32) for example in examples if example.result_path}
    draft, config = folder / "simulators.toml", folder / "gateway.toml"
    draft.write_text(_configuration(folder, examples, keys, {}))
    simulators = {
        example.adapter: await group.start(
            f"{example.adapter}-simulator", "simulate", *_simulator_options(example, draft, faults)
        )
        for example in examples
    }
    urls = {adapter: str((await simulator.listening())["listening"]) for adapter, simulator in simulators.items()}
    config.write_text(_configuration(folder, examples, keys, urls))
    gateway = await group.start("gateway", "serve", "--config", str(config))
    line = await gateway.listening()
    listeners = {name: str(line[name]) for name in ("grpc", "callbacks", "admin")}
    callbacks = {adapter: f"http://{listeners['callbacks']}/callbacks/{adapter}/{key}" for adapter, key in keys.items()}
    return Addresses(listeners, urls, callbacks)


def _simulator_options(example: Example, config: Path, faults: Mapping[str, str]) -> list[str]:
    session = f"{example.user_id}:{example.session_id}:{example.game_id}"
    options = ["--config", str(config), "--provider", example.adapter, "--session", session]
    if fault := faults.get(example.adapter):
        options += ["--fault", fault]
    return options


def _configuration(folder: Path, examples: Sequence[Example], keys: Mapping[str, str], urls: Mapping[str, str]) -> str:
    """One configuration for the gateway and the simulators. A JSON string is a TOML string."""
    lines = [f'[{section}]\nlisten = "127.0.0.1:0"' for section in ("grpc", "callbacks", "admin")]
    lines.append(f"[store]\nurl = {json.dumps(f'sqlite:///{folder}/gateway.db')}")
    for example in examples:
        settings = {
            "adapter": example.adapter,
            "base_url": urls.get(example.adapter, "http://127.0.0.1:1"),
            "allow_plain_http": True,
            "allow_private_addresses": True,
            "token": "demo-only-not-a-secret",
            **example.settings,
            **({"callback_keys": [keys[example.adapter]]} if example.adapter in keys else {}),
        }
        lines.append(f"[providers.{example.adapter}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    return "\n".join(lines) + "\n"
