"""The demo's processes: a simulator a provider, and a gateway that is configured with all of them."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.cli.demo.examples import Example
from gateway.cli.demo.processes import ProcessGroup, child


@dataclass(frozen=True, slots=True)
class Started:
    """Where all of it listens. By adapter: the simulators, and the gateway's URLs for the callbacks of each."""

    gateway: Mapping[str, str]
    simulators: Mapping[str, str]
    callbacks: Mapping[str, str]


@asynccontextmanager
async def started(examples: Sequence[Example], folder: Path, faults: Mapping[str, str]) -> AsyncIterator[Started]:
    """Start all of it on free ports, at once, and end it; `faults` by adapter. Raises ChildFailed."""
    keys = {example.adapter: secrets.token_urlsafe(32) for example in examples if example.result_path}
    draft = folder / "draft.toml"
    draft.write_text(_configuration(folder, examples, keys, {}))
    # The gateway's configuration names where the simulators listen: it starts beside them, and reads it when they do.
    configuration: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    family = ProcessGroup()
    async with AsyncExitStack() as stack:
        serve = child(family, "gateway", folder, "serve", "--config", "/dev/stdin", reads=configuration)
        gateway = asyncio.create_task(stack.enter_async_context(serve))
        try:
            urls = await _all_started(
                {
                    example.adapter: stack.enter_async_context(
                        _simulator(family, example, draft, folder, faults.get(example.adapter))
                    )
                    for example in examples
                }
            )
            configuration.set_result(_configuration(folder, examples, keys, urls))
        except BaseException:
            configuration.cancel()
            await asyncio.wait({gateway})
            raise
        said = await gateway
        stack.callback(family.end)
        addresses = {name: str(said[name]) for name in ("grpc", "callbacks", "admin")}
        callbacks = {
            adapter: f"http://{addresses['callbacks']}/callbacks/{adapter}/{key}" for adapter, key in keys.items()
        }
        yield Started(addresses, urls, callbacks)


async def _all_started(starting: Mapping[str, Awaitable[str]]) -> dict[str, str]:
    """Wait for all, also where one fails, so that each that did start is ended in its turn."""
    outcomes = await asyncio.gather(*starting.values(), return_exceptions=True)
    failed = next((outcome for outcome in outcomes if isinstance(outcome, BaseException)), None)
    if failed is not None:
        raise failed
    return {name: str(outcome) for name, outcome in zip(starting, outcomes, strict=True)}


@asynccontextmanager
async def _simulator(
    family: ProcessGroup, example: Example, config: Path, folder: Path, fault: str | None
) -> AsyncIterator[str]:
    arguments = ["--config", str(config), "--provider", example.adapter, "--listen", "127.0.0.1:0"]
    arguments += ["--session", f"{example.user_id}:{example.session_id}:{example.game_id}"]
    if fault:
        arguments += ["--fault", fault]
    async with child(family, f"{example.adapter}-simulator", folder, "simulate", *arguments) as said:
        yield str(said["listening"])


def _configuration(folder: Path, examples: Sequence[Example], keys: Mapping[str, str], urls: Mapping[str, str]) -> str:
    """The one configuration that gateway and simulators share. A JSON string is a TOML string."""
    lines = [f'[{section}]\nlisten = "127.0.0.1:0"' for section in ("grpc", "callbacks", "admin")]
    lines.append(f"[store]\nurl = {json.dumps(f'sqlite:///{folder}/gateway.db')}")
    for example in examples:
        keyed = {
            "adapter": example.adapter,
            "base_url": urls.get(example.adapter, "http://127.0.0.1:1"),
            "allow_plain_http": True,
            "allow_private_addresses": True,
            "token": "demo-token",
            **example.settings,
            **({"callback_keys": [keys[example.adapter]]} if example.adapter in keys else {}),
        }
        lines.append(f"[providers.{example.adapter}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keyed.items()]
    return "\n".join(lines) + "\n"
