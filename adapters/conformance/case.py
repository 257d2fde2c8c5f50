"""What the suite judges: one adapter with its simulator, its goldens and its source text; and how a failure is told."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any

from hypothesis import HealthCheck, Phase, settings

from adapters import golden as goldens
from adapters.conformance.source_scan import sources_of
from adapters.contract import (
    Account,
    Adapter,
    Callback,
    CloseSessionCall,
    HttpReply,
    HttpRequest,
    Notification,
    Secret,
)
from adapters.golden import CallbackGolden, CallGolden, Golden, GoldenInvalid, UnsentGolden
from adapters.simulation import Simulator

ACCOUNT_MARKER = "MarkerOfTheAccount7Qx2"
"""The account's token in every check that looks for secrets where none may show."""
CALL_MARKER = "MarkerOfTheCall9Zk4"
"""The caller's token, likewise."""

examples = settings(
    derandomize=True,  # the same examples everywhere: a team's red is our red
    database=None,
    deadline=None,
    max_examples=60,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),  # without Phase.explain, which takes seconds
    report_multiple_bugs=False,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


class ConformanceFailure(AssertionError):
    """An adapter does not hold to the contract. The text says what, in which adapter and golden, and what to do."""

    def __init__(
        self, adapter: str, what: str, *, mend: str, golden: str = "", expected: str = "", got: str = ""
    ) -> None:
        super().__init__(what)
        self.check = ""
        self.adapter = adapter
        self.what = what
        self.golden = golden
        self.expected = expected
        self.got = got
        self.mend = mend

    def __str__(self) -> str:
        where = f"adapter {self.adapter}" + (f", golden {self.golden}" if self.golden else "")
        lines = [f"{self.check}: {where}: {self.what}"]
        lines += [f"  expected: {self.expected}"] if self.expected else []
        lines += [f"  got:      {self.got}"] if self.got else []
        return "\n".join((*lines, f"  do: {self.mend}"))


@dataclass(frozen=True)
class Subject:
    """One adapter under judgement: golden files are TOML by file name, sources Python by module name."""

    package: str
    adapter: Adapter[Any]
    simulator: Simulator[Any]
    golden_files: Mapping[str, bytes]
    sources: Mapping[str, str]

    @classmethod
    def of(cls, package: str) -> "Subject":
        """The adapter that lives in this package: `<package>.ADAPTER`, `<package>.simulator.SIMULATOR`, `golden/`."""
        adapter = getattr(import_module(package), "ADAPTER", None)
        simulator = getattr(import_module(f"{package}.simulator"), "SIMULATOR", None)
        if not isinstance(adapter, Adapter):
            raise ConformanceFailure(package, "it has no ADAPTER that is an Adapter", mend="Bind one in its __init__.")
        if not isinstance(simulator, Simulator):
            raise ConformanceFailure(package, "it has no SIMULATOR that is a Simulator", mend="Bind one in simulator.")
        return cls(
            package=package,
            adapter=adapter,
            simulator=simulator,
            golden_files=goldens.files_of(package),
            sources=sources_of(package),
        )

    @cached_property
    def _parsed(self) -> tuple[Golden | GoldenInvalid, ...]:
        def parse(name: str, content: bytes) -> Golden | GoldenInvalid:
            try:
                return goldens.parse(name, content, self.adapter)
            except GoldenInvalid as problem:
                return problem

        return tuple(parse(name, content) for name, content in self.golden_files.items())

    @property
    def unreadable(self) -> tuple[GoldenInvalid, ...]:
        """What is wrong with golden files that are not of their form."""
        return tuple(golden for golden in self._parsed if isinstance(golden, GoldenInvalid))

    @property
    def goldens(self) -> tuple[Golden, ...]:
        """Every golden that could be read."""
        return tuple(golden for golden in self._parsed if not isinstance(golden, GoldenInvalid))

    @property
    def sent(self) -> tuple[tuple[CloseSessionCall[Any], CallGolden], ...]:
        """The goldens of calls that are sent, each with the call that it shows."""
        close = self.adapter.close_session
        return tuple((close, golden) for golden in self.goldens if close and isinstance(golden, CallGolden))

    @property
    def unsent(self) -> tuple[tuple[CloseSessionCall[Any], UnsentGolden], ...]:
        """The goldens of calls that are refused before sending, each with the call that it shows."""
        close = self.adapter.close_session
        return tuple((close, golden) for golden in self.goldens if close and isinstance(golden, UnsentGolden))

    @property
    def told(self) -> tuple[tuple[Callback[Any, Notification], CallbackGolden], ...]:
        """The goldens of callbacks, each with the callback that it shows."""
        callbacks = self.adapter.callbacks
        return tuple(
            (callbacks[golden.operation], golden) for golden in self.goldens if isinstance(golden, CallbackGolden)
        )

    @property
    def account(self) -> Account[Any] | None:
        """A configured account whose token is a marker; None where no golden gives its settings."""
        return next((replace(golden.account, token=Secret(ACCOUNT_MARKER)) for golden in self.goldens), None)

    def failure(
        self, what: str, *, mend: str, golden: Golden | None = None, expected: object = None, got: object = None
    ) -> ConformanceFailure:
        """A failure to raise; no secret of a golden and no marker is in its text."""
        return ConformanceFailure(
            self.adapter.name,
            self._hidden(what),
            mend=self._hidden(mend),
            golden=golden.name if golden else "",
            expected="" if expected is None else self._hidden(shown(expected)),
            got="" if got is None else self._hidden(shown(got)),
        )

    def _hidden(self, text: str) -> str:
        tokens = [golden.account.token for golden in self.goldens]
        tokens += [golden.call.token for golden in self.goldens if not isinstance(golden, CallbackGolden)]
        secrets = {ACCOUNT_MARKER, CALL_MARKER} | {token.reveal() for token in tokens if token}
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def shown(value: object) -> str:
    """A value for a person: bytes as text, messages with all their parts, and not endlessly."""
    match value:
        case bytes():
            text = value.decode(errors="backslashreplace")
        case HttpRequest(method, path, query, headers, body):
            text = f"{method} {path} query {list(query)} headers {list(headers)} body {shown(body)}"
        case HttpReply(status, headers, body):
            text = f"HTTP {status} headers {list(headers)} body {shown(body)}"
        case BaseException():
            text = f"{type(value).__name__}({value}) with {vars(value)}"
        case _:
            text = repr(value) if not isinstance(value, str) else value
    return text if len(text) <= 1_000 else f"{text[:1_000]}… ({len(text)} characters)"
