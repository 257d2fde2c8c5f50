"""`session-gateway`: its entry point, and a short way to what serves.

Servers are started again and again, by supervisors and in a hurry, and do without what prints for people.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

_OPTIONS = {"serve": {"--config", "--worker"}, "wallet": {"--config"}}
"""Of the commands that serve, the options that the short way knows. `--config` must be given."""


def main() -> None:
    """The entry point of `session-gateway`."""
    if sys.argv[1:2] and sys.argv[1] in _OPTIONS:
        # Until there is a server that knows what to do, and from its end on: see gateway.server.signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # The core of gRPC would write lines of its own into the log, which are no JSON and pass no mask.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    options = plain_options(sys.argv[1:])
    if options is None:
        from gateway.cli.commands import cli  # reads every form of every command, and explains what is wrong

        cli()
        return
    # structlog loads rich wherever it finds it, for tracebacks on a terminal: a tenth of a start.
    with _nothing_collected(), _absent("rich"):
        from gateway.cli import serve
    if sys.argv[1] == "serve":
        serve.serve(options["--config"], options.get("--worker", ""))
    else:
        serve.wallet(options["--config"])


def plain_options(arguments: Sequence[str]) -> Mapping[str, str] | None:
    """The options of a command that serves, where each is written as `--name value`; None for all else."""
    command, *rest = arguments or [""]
    names, values = rest[::2], rest[1::2]
    once = len(set(names)) == len(names) == len(values)
    if not once or "--config" not in names or not _OPTIONS.get(command, set()).issuperset(names):
        return None
    return None if any(value.startswith("-") for value in values) else dict(zip(names, values, strict=True))


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """What is loaded meanwhile is there to stay: it is not looked through for garbage, now or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _absent(module: str) -> Iterator[None]:
    """Meanwhile a module cannot be imported, as if it were not installed."""
    absent: dict[str, Any] = {module: None}
    sys.modules.update(absent)
    try:
        yield
    finally:
        del sys.modules[module]
