"""Whether the answers to callers are true, compared with what the proxies counted and what the providers did."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.stress.figures import Figures, at_least, at_most, none_of, stated, timed
from tests.stress.providers_harness import LATE_S, SUCCESS, CallResult, FaultyProvider
from tests.support.faulty_link import Receipt

MIN_NOT_SENT = 0.99
"""Of the calls of which nothing reached the provider. The rest are those whose connection ends as they are sent."""
OF_FEW = 0.8
"""The same of so few that one is more than a hundredth."""
NOT_JUDGED = 0.1
"""The part of all calls that may say nothing of the gateway: with more, the test says nothing."""


@dataclass(frozen=True)
class ObservedCalls:
    """Calls of one provider, as their callers saw them end and as the provider got them."""

    name: str
    ended: Sequence[CallResult]
    receipts: Mapping[str, Receipt]
    closed: frozenset[str]
    """Players whose sessions the provider has closed."""
    nothing: Receipt = field(default_factory=Receipt)

    def receipt(self, each: CallResult) -> Receipt:
        """What the provider got of a call."""
        return self.receipts.get(each.marker, self.nothing)

    def unreached(self) -> list[CallResult]:
        """Calls of which nothing reached the provider."""
        return [each for each in self.ended if not self.receipt(each).started]

    def not_sent_but_received(self) -> list[str]:
        """The worst error: the caller believes that nothing can have happened."""
        return self._named(each for each in self.ended if each.certainty == "NOT_SENT" and self.receipt(each).started)

    def executed_but_denied(self) -> list[str]:
        return self._named(
            each for each in self.ended if self.receipt(each).executed and each.certainty in {"NOT_SENT", "REFUSED"}
        )

    def closed_but_not_done(self) -> list[str]:
        return self._named(each for each in self.ended if each.code == SUCCESS and not self.receipt(each).executed)

    def miscounted(self) -> list[str]:
        """Players of whom the proxy and the provider itself count differently."""
        executed = {marker for marker, receipt in self.receipts.items() if receipt.executed}
        return [f"{self.name}: {marker}" for marker in executed ^ self.closed]

    def _named(self, calls: Iterable[CallResult]) -> list[str]:
        return [f"{self.name}: {each.marker} {each.outcome}" for each in calls]


async def observe(name: str, provider: FaultyProvider, ended: Sequence[CallResult]) -> ObservedCalls:
    """What came of these calls, all of a provider's since its ledger was cleared and it was stocked with them."""
    await provider.proxy.wait_executed()
    markers = frozenset(each.marker for each in ended)
    return ObservedCalls(name, ended, dict(provider.proxy.received.receipts), markers - provider.still_open())


def certainty_figures(observed: Iterable[ObservedCalls], not_sent: float = MIN_NOT_SENT) -> Figures:
    """What must be true of all calls; `not_sent` is the part of those that reached nothing which must be NOT_SENT."""
    every = list(observed)
    unreached = [(each.name, call) for each in every for call in each.unreached()]
    otherwise = Counter(f"{name}: {call.outcome}" for name, call in unreached if call.certainty != "NOT_SENT")
    share = 1 - otherwise.total() / len(unreached) if unreached else 1.0
    return (
        none_of("answered NOT_SENT, and something had arrived", _all(each.not_sent_but_received() for each in every)),
        none_of("executed, and answered NOT_SENT or REFUSED", _all(each.executed_but_denied() for each in every)),
        none_of("answered closed, and the provider had not", _all(each.closed_but_not_done() for each in every)),
        none_of("counted otherwise than the provider counts", _all(each.miscounted() for each in every)),
        stated("calls of which nothing reached the provider", len(unreached)),
        timed(at_least("... answered NOT_SENT", not_sent, share)),
        *(stated("... answered otherwise", f"{times} x {what}") for what, times in otherwise.most_common(5)),
    )


def deadline_figures(ended: Sequence[CallResult], deadline_s: float, of: int = 0) -> Figures:
    """Whether all were answered, and by their deadline; of `of` calls, these are those that may not have been."""
    not_judged = sum(each.not_judged for each in ended)
    return (
        timed(none_of("ended by the caller's own timer", (each.marker for each in ended if each.in_vain))),
        timed(
            none_of(
                f"later than the deadline + {LATE_S * 1000:.0f} ms",
                (f"{each.marker} after {each.seconds:.3f} s" for each in ended if each.late(deadline_s)),
            )
        ),
        timed(
            at_most("part not judged, for this process itself was late", NOT_JUDGED, not_judged / (of or len(ended)))
        ),
    )


def _all(lists: Iterable[list[str]]) -> list[str]:
    return [text for texts in lists for text in texts]
