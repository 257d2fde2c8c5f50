"""The adapter under test with its simulator, goldens and source text, and the failure of a check."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

from hypothesis import HealthCheck, Phase, settings

from adapters import golden as goldens
from adapters.conformance.source_scan import sources_of
from adapters.contract import (
    Account,
    Adapter,
    AdapterRefusal,
    Callback,
    CallbackRefused,
    CloseSessionCall,
    HttpReply,
    HttpRequest,
    Notification,
    Secret,
)
from adapters.golden import CallbackGolden, CallGolden, Golden, GoldenInvalid, UnsentGolden
from adapters.simulation import Simulator

P = ParamSpec("P")
T = TypeVar("T")

ACCOUNT_MARKER = "MarkerOfTheAccount7Qx2"
"""The account's token in every check that looks for exposed secrets."""
CALL_MARKER = "MarkerOfTheCall9Zk4"
"""The caller's token in the same checks."""

examples = settings(
    derandomize=True,  # the same examples on every machine
    database=None,
    deadline=None,
    max_examples=60,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),  # without Phase.explain, which takes seconds
    report_multiple_bugs=False,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


def result_of(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | AdapterRefusal | CallbackRefused:
    """What the function returns, or the contract's refusal that it raises."""
    try:
        return function(*args, **kwargs)
    except (AdapterRefusal, CallbackRefused) as refused:
        return refused


class ConformanceFailure(AssertionError):
    """An adapter breaks the contract. The text says what failed, in which adapter and golden, and how to fix it."""

    def __init__(
        self, adapter: str, what: str, *, fix: str, golden: str = "", expected: str = "", got: str = ""
    ) -> None:
        super().__init__(what)
        self.check = ""
        self.adapter = adapter
        self.what = what
        self.golden = golden
        self.expected = expected
        self.got = got
        self.fix = fix

    def __str__(self) -> str:
        where = f"adapter {self.adapter}" + (f", golden {self.golden}" if self.golden else "")
        lines = [f"{self.check}: {where}: {self.what}"]
        lines += [f"  expected: {self.expected}"] if self.expected else []
        lines += [f"  got:      {self.got}"] if self.got else []
        return "\n".join((*lines, f"  fix: {self.fix}"))


@dataclass(frozen=True)
class Case:
    """One adapter under test. Golden files are TOML by file name, sources are Python by module name."""

    package: str
    adapter: Adapter[Any]
    simulator: Simulator[Any]
    golden_files: Mapping[str, bytes]
    sources: Mapping[str, str]

    @classmethod
    def of(cls, package: str) -> "Case":
        """The adapter in this package: `<package>.ADAPTER`, `<package>.simulator.SIMULATOR` and `golden/`."""
        adapter = getattr(import_module(package), "ADAPTER", None)
        simulator = getattr(import_module(f"{package}.simulator"), "SIMULATOR", None)
        if not isinstance(adapter, Adapter):
            raise ConformanceFailure(package, "it has no ADAPTER that is an Adapter", fix="Bind one in its __init__.")
        if not isinstance(simulator, Simulator):
            raise ConformanceFailure(package, "it has no SIMULATOR that is a Simulator", fix="Bind one in simulator.")
        return cls(package, adapter, simulator, goldens.files_of(package), sources_of(package))

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
        """The problems of the golden files that cannot be parsed."""
        return tuple(golden for golden in self._parsed if isinstance(golden, GoldenInvalid))

    @property
    def goldens(self) -> tuple[Golden, ...]:
        """Every golden that can be parsed."""
        return tuple(golden for golden in self._parsed if not isinstance(golden, GoldenInvalid))

    @property
    def sent(self) -> tuple[tuple[CloseSessionCall[Any], CallGolden], ...]:
        """The goldens of calls that are sent, each with its call."""
        return self._calls(CallGolden)

    @property
    def unsent(self) -> tuple[tuple[CloseSessionCall[Any], UnsentGolden], ...]:
        """The goldens of calls that `encode` refuses, each with its call."""
        return self._calls(UnsentGolden)

    def _calls(self, kind: type[T]) -> tuple[tuple[CloseSessionCall[Any], T], ...]:
        close = self.adapter.close_session
        return tuple((close, golden) for golden in self.goldens if close and isinstance(golden, kind))

    @property
    def callbacks(self) -> tuple[tuple[Callback[Any, Notification], CallbackGolden], ...]:
        """The goldens of callbacks, each with its callback."""
        callbacks = self.adapter.callbacks
        return tuple(
            (callbacks[golden.operation], golden) for golden in self.goldens if isinstance(golden, CallbackGolden)
        )

    @property
    def account(self) -> Account[Any] | None:
        """A configured account whose token is ACCOUNT_MARKER; None where no golden gives the settings."""
        return next((replace(golden.account, token=Secret(ACCOUNT_MARKER)) for golden in self.goldens), None)

    def run(
        self, name: str, function: Callable[..., T], *arguments: Any, fix: str
    ) -> T | AdapterRefusal | CallbackRefused:
        """`result_of` a function of the adapter. Raises a failure, with the last argument, for any other exception."""
        try:
            return result_of(function, *arguments)
        except Exception as error:
            raise self.failure(f"{name} raises {type(error).__name__}", got=arguments[-1], fix=fix) from error

    def failure(
        self, what: str, *, fix: str, golden: Golden | None = None, expected: object = None, got: object = None
    ) -> ConformanceFailure:
        """A failure to raise. Tokens of the goldens and the markers are masked in its text."""
        return ConformanceFailure(
            self.adapter.name,
            self._mask(what),
            fix=self._mask(fix),
            golden=golden.name if golden else "",
            expected="" if expected is None else self._mask(shown(expected)),
            got="" if got is None else self._mask(shown(got)),
        )

    def _mask(self, text: str) -> str:
        tokens = [golden.account.token for golden in self.goldens]
        tokens += [golden.call.token for golden in self.goldens if not isinstance(golden, CallbackGolden)]
        secrets = {ACCOUNT_MARKER, CALL_MARKER} | {token.reveal() for token in tokens if token}
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def shown(value: object) -> str:
    """A value as text for a failure: bytes decoded, messages with all their parts, at most 1,000 characters."""
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
