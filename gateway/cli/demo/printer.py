"""What the demo prints: a heading for each step, and below it each request and answer."""

import json
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from rich.console import Console

from gateway.cli.demo.examples import Example
from gateway.cli.demo.processes import Addresses

_HIDDEN_HEADERS = frozenset({"host", "accept-encoding", "content-length", "connection", "accept", "user-agent"})


class DemoPrinter:
    """Prints the demo to standard output."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._began = monotonic()
        self._steps = 0

    def print_header(self, addresses: Addresses, examples: Sequence[Example]) -> None:
        """The processes and their addresses."""
        self._console.rule("session gateway demo")
        self._line("gateway", ", ".join(f"{name} {address}" for name, address in addresses.gateway.items()))
        for example in examples:
            self._line(example.display_name, f"simulated provider at {addresses.simulators[example.adapter]}")

    def step(self, title: str) -> None:
        """The heading of a step."""
        self._steps += 1
        self._console.print(f"\n[bold]{self._steps}. {title}[/bold]")

    def call(self, method: str, request: Mapping[str, object]) -> None:
        """A gRPC call to the gateway."""
        self._line("microservice → gateway", f"{method} {_json(request)}")

    def response(self, response: Mapping[str, object]) -> None:
        """The response to a gRPC call."""
        self._line("gateway → microservice", _json(response))

    def error(self, code: str, reason: str, metadata: Mapping[str, str], message: str) -> None:
        """The error of a gRPC call."""
        self._line("gateway → microservice", f"{code} {reason} {_json(metadata)}: {message}")

    def exchange(self, client: str, server: str, exchange: Mapping[str, Any]) -> None:
        """One HTTP request and its answer."""
        headers = ", ".join(
            f"{name}: {value}" for name, value in exchange["headers"] if name.lower() not in _HIDDEN_HEADERS
        )
        request = f"{exchange['method']} {exchange['path']}  {_on_one_line(exchange['body'])}"
        self._line(f"{client} → {server}", f"{request}  ({headers})" if headers else request)
        reply = exchange["reply"]
        answer = f"HTTP {reply['status']}  {_on_one_line(reply['body'])}" if reply else exchange["note"] or "no answer"
        self._line(f"{server} → {client}", answer)

    def event(self, event: Mapping[str, object]) -> None:
        """An event that a subscriber received."""
        self._line("gateway → subscriber", _json(event))

    def checked(self, result: str) -> None:
        """What the step has checked."""
        self._console.print(f"   [green]✓[/green] {result}")

    def failed(self, step: str, error: str) -> None:
        """The end of a demo that failed."""
        self._console.print(f"\n[bold red]FAILED[/bold red] at step: {step}")
        self._console.print(f"   {error}", markup=False)

    def succeeded(self) -> None:
        """The end of a demo that succeeded."""
        seconds = monotonic() - self._began
        self._console.print(f"\n[bold green]All {self._steps} steps succeeded[/bold green] in {seconds:.1f} s.")

    def _line(self, label: str, text: str) -> None:
        self._console.print(f"   {label:<24} {text}", markup=False)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _on_one_line(body: str) -> str:
    return " ".join(line.strip() for line in body.splitlines())
