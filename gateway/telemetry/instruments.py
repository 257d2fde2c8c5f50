"""Counters, histograms and gauges without a lock, exposed as prometheus_client's metric families.

prometheus_client's own instruments take a lock and several calls for each update. Here an update is an addition: one
thread (the event loop's or the store's) writes an instrument, and a scrape reads it.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

Labels = tuple[str, ...]
"""The label values of a family, in the order of the label names."""


class Counter:
    """A counter by labels. `name` is without `_total`. The series of `known` labels exist from 0."""

    def __init__(self, name: str, description: str, labels: Sequence[str], known: Iterable[Labels] = ()) -> None:
        self._name, self._description, self._labels = name, description, labels
        self._values: defaultdict[Labels, int] = defaultdict(int, dict.fromkeys(known, 0))

    def expect(self, known: Iterable[Labels]) -> None:
        """Make these series exist from 0. Those that exist keep their value."""
        for labels in known:
            self._values.setdefault(labels, 0)

    def add(self, labels: Labels) -> None:
        """Add 1."""
        self._values[labels] += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the family for a scrape."""
        family = CounterMetricFamily(self._name, self._description, labels=self._labels)
        for labels, count in tuple(self._values.items()):  # a copy: the store's thread may add labels meanwhile
            family.add_metric(labels, count)
        yield family


class _Buckets:
    """The observations of one set of labels: the count of each bucket, and the sum."""

    __slots__ = ("buckets", "sum")

    def __init__(self, buckets: int) -> None:
        self.buckets = [0] * buckets
        self.sum = 0.0


class Histogram:
    """A histogram by labels. `bounds` are the upper bounds of the buckets, ascending; the last bucket is +Inf."""

    def __init__(self, name: str, description: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name, self._description, self._labels = name, description, labels
        self._bounds = tuple(bounds)
        self._ends = (*(repr(float(bound)) for bound in bounds), "+Inf")
        self._values: dict[Labels, _Buckets] = {}

    def expect(self, known: Iterable[Labels]) -> None:
        """Make these series exist from 0. Those that exist keep their observations."""
        for labels in known:
            self._values.setdefault(labels, _Buckets(len(self._ends)))

    def observe(self, labels: Labels, value: float) -> None:
        """Add an observation, in the unit of the family."""
        values = self._values.get(labels)
        if values is None:
            values = self._values[labels] = _Buckets(len(self._ends))
        values.buckets[bisect_left(self._bounds, value)] += 1
        values.sum += value

    def collect(self) -> Iterator[Metric]:
        """Yield the family for a scrape."""
        family = HistogramMetricFamily(self._name, self._description, labels=self._labels)
        for labels, values in tuple(self._values.items()):
            cumulative, buckets = 0, []
            for end, count in zip(self._ends, tuple(values.buckets), strict=True):
                cumulative += count
                buckets.append((end, cumulative))
            family.add_metric(labels, buckets, values.sum)
        yield family


Sample = tuple[Labels, float]
"""One sample of a gauge: its label values, and its value."""


class CallbackGauge:
    """A gauge whose values a callback returns at each scrape."""

    def __init__(
        self, name: str, description: str, labels: Sequence[str], read: Callable[[], Iterable[Sample]]
    ) -> None:
        self._name, self._description, self._labels, self._read = name, description, labels, read

    def collect(self) -> Iterator[Metric]:
        """Yield the family for a scrape."""
        family = GaugeMetricFamily(self._name, self._description, labels=self._labels)
        for labels, value in self._read():
            family.add_metric(labels, value)
        yield family


class ReadCounter:
    """A counter whose values a function returns at each scrape. `name` is without `_total`."""

    def __init__(
        self, name: str, description: str, labels: Sequence[str], read: Callable[[], Iterable[Sample]]
    ) -> None:
        self._name, self._description, self._labels, self._read = name, description, labels, read

    def collect(self) -> Iterator[Metric]:
        """Yield the family for a scrape."""
        family = CounterMetricFamily(self._name, self._description, labels=self._labels)
        for labels, value in self._read():
            family.add_metric(labels, value)
        yield family


class Collected(CollectorRegistry):
    """What a scrape collected, for a thread that makes the text of it."""

    def __init__(self, families: Sequence[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        return iter(self._families)
