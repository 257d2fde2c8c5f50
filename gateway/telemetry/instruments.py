"""Counts and distributions that cost a call next to nothing, and become Prometheus' families when they are scraped.

prometheus_client's own take a lock and several calls for each number. Here a number is an addition: each of them is
written by one thread (the event loop's, or the store's), and a scrape reads it as it stands.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

Labels = tuple[str, ...]
"""The values of a family's labels, in the order of their names."""


class Counter:
    """A counter: how often, by labels. `name` is without `_total`."""

    def __init__(self, name: str, words: str, labels: Sequence[str]) -> None:
        self._name, self._words, self._labels = name, words, labels
        self._counted: defaultdict[Labels, int] = defaultdict(int)

    def add(self, labels: Labels) -> None:
        """Once more."""
        self._counted[labels] += 1

    def collect(self) -> Iterator[Metric]:
        """What a scrape shows."""
        family = CounterMetricFamily(self._name, self._words, labels=self._labels)
        for labels, count in tuple(self._counted.items()):  # at once: the store's thread may add one meanwhile
            family.add_metric(labels, count)
        yield family


class _Counted:
    """The observations under one set of labels: how many in each bucket, and their sum."""

    __slots__ = ("buckets", "sum")

    def __init__(self, buckets: int) -> None:
        self.buckets = [0] * buckets
        self.sum = 0.0


class Histogram:
    """A histogram. `bounds` are the buckets' upper ends, ascending; what is larger than all of them has one too."""

    def __init__(self, name: str, words: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name, self._words, self._labels = name, words, labels
        self._bounds = tuple(bounds)
        self._ends = (*(repr(float(bound)) for bound in bounds), "+Inf")
        self._counted: dict[Labels, _Counted] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """One more, in the family's unit."""
        counted = self._counted.get(labels)
        if counted is None:
            counted = self._counted[labels] = _Counted(len(self._ends))
        counted.buckets[bisect_left(self._bounds, value)] += 1
        counted.sum += value

    def collect(self) -> Iterator[Metric]:
        """What a scrape shows."""
        family = HistogramMetricFamily(self._name, self._words, labels=self._labels)
        for labels, counted in tuple(self._counted.items()):
            reached, buckets = 0, []
            for end, count in zip(self._ends, tuple(counted.buckets), strict=True):
                reached += count
                buckets.append((end, reached))
            family.add_metric(labels, buckets, counted.sum)
        yield family


Sample = tuple[Labels, float]
"""One line of a gauge: the values of its labels, and the number."""


class CallbackGauge:
    """A gauge that is read when it is scraped, and costs nothing otherwise."""

    def __init__(self, name: str, words: str, labels: Sequence[str], read: Callable[[], Iterable[Sample]]) -> None:
        self._name, self._words, self._labels, self._read = name, words, labels, read

    def collect(self) -> Iterator[Metric]:
        """What a scrape shows."""
        family = GaugeMetricFamily(self._name, self._words, labels=self._labels)
        for labels, value in self._read():
            family.add_metric(labels, value)
        yield family
