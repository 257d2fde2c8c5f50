"""What the demo prints: a heading a step, and under it what travelled, as it travelled."""

import json
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from rich.console import Console

from gateway.cli.demo.children import Started
from gateway.cli.demo.examples import Example


class StepFailed(Exception):
    """A step did not show what it is there to show; the message says what was seen instead."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(why)
        self.step = step


class DemoPrinter:
    """Prints to a console, plainly enough to be read in a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = monotonic()
        self._steps = 0

    def print_header(self, started: Started, examples: Sequence[Example]) -> None:
        """Say what runs, and where."""
        self._console.rule("session gateway: the main job, end to end")
        self._line("gateway", ", ".join(f"{name} {address}" for name, address in started.gateway.items()))
        for example in examples:
            self._line(example.display_name, f"simulated, at {started.simulators[example.adapter]}")

    def step(self, what: str) -> None:
        """Begin a step."""
        self._steps += 1
        self._console.print(f"\n[bold]{self._steps}. {what}[/bold]")

    def call(self, method: str, request: Mapping[str, object]) -> None:
        """A microservice's call."""
        self._line("microservice → gateway", f"{method} {_json(request)}")

    def answer(self, answer: Mapping[str, object]) -> None:
        """The gateway's answer to it."""
        self._line("gateway → microservice", _json(answer))

    def refusal(self, code: str, reason: str, metadata: Mapping[str, str], message: str) -> None:
        """The gateway's failure."""
        self._line("gateway → microservice", f"{code} {reason} {_json(metadata)}: {message}")

    def exchange(self, asks: str, answers: str, exchange: Mapping[str, Any]) -> None:
        """One HTTP request and its answer."""
        headers = ", ".join(f"{name}: {value}" for name, value in exchange["headers"] if name.lower() not in _DULL)
        self._line(
            f"{asks} → {answers}",
            f"{exchange['method']} {exchange['path']}  {_squeezed(exchange['body'])}"
            + (f"  ({headers})" if headers else ""),
        )
        reply = exchange["reply"]
        told = f"HTTP {reply['status']}  {_squeezed(reply['body'])}" if reply else exchange["note"] or "no answer"
        self._line(f"{answers} → {asks}", told)

    def event(self, event: Mapping[str, object]) -> None:
        """An event at a subscriber."""
        self._line("gateway → subscriber", _json(event))

    def observed(self, what: str) -> None:
        """What the step was there to show."""
        self._console.print(f"   [green]✓[/green] {what}")

    def failed(self, step: str, why: str) -> None:
        """The demo ends here."""
        self._console.print(f"\n[bold red]FAILED[/bold red] at step: {step}", markup=True)
        self._console.print(f"   {why}", markup=False)

    def succeeded(self) -> None:
        """All of it was observed."""
        seconds = monotonic() - self._began
        self._console.print(f"\n[bold green]All {self._steps} steps observed[/bold green] in {seconds:.1f} s.")

    def _line(self, who: str, what: str) -> None:
        self._console.print(f"   {who:<24} {what}", markup=False)


_DULL = frozenset({"host", "accept-encoding", "content-length", "connection", "accept", "user-agent"})


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _squeezed(body: str) -> str:
    """A body on one line. White space between JSON's tokens is all that goes."""
    return " ".join(line.strip() for line in body.splitlines())
