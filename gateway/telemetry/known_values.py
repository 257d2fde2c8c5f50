"""Where a secret that we know stands in a text, as it is or in the encodings that it may travel in."""

from base64 import b64encode
from collections.abc import Iterable, Iterator

from adapters.contract import Secret
from gateway.telemetry.spans import MASK, Span
from gateway.telemetry.views import View, views

SHORTEST = 4
"""Secrets of fewer characters are masked by name only. One such as '7' stands in every amount and every id: masking it
there would ruin what the journal is kept for, and would tell the secret by what is missing."""

_QUOTE = b'"'

_SHORTEST_IN_BASE64 = 8
"""Of a shorter one so little is certain in base64 that chance would find it."""

_LONGEST_ENCODING = 12
"""Bytes that the encodings looked through make of one byte, at most."""


class KnownValues:
    """Finds known secrets: raw, JSON-escaped and percent-encoded in any mixture, and in base64."""

    __slots__ = ("_literals", "_quoted", "_shortest", "_values", "reach")

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._values = frozenset(secret.reveal() for secret in secrets)
        self._literals = tuple(
            {literal for value in self._values if len(value) >= SHORTEST for literal in _literals(value)}
        )
        self._shortest = min(map(len, self._literals), default=0)
        self._quoted = any(_QUOTE in literal for literal in self._literals)
        self.reach = _LONGEST_ENCODING * max(map(len, self._literals), default=0)
        """An occurrence is at most so many bytes long."""

    def holds(self, secret: Secret) -> bool:
        """Whether this is one of the secrets."""
        return secret.reveal() in self._values

    def stand_plainly_in(self, data: bytes) -> bool:
        """Whether any stands there as it is, or in base64: what looks through no escapes."""
        return self._has_room(data) and any(literal in data for literal in self._literals)

    def spans(self, data: bytes) -> list[Span]:
        """Every occurrence."""
        if not self._literals or len(data) < self._shortest:
            return []
        if not _is_escaped(data):
            return self._plain_spans(data)
        return [
            (*view.origin(start, start + len(literal)), MASK)
            for view in views(View(data))
            for literal in self._literals
            for start in _occurrences(literal, view.data)
        ]

    def _plain_spans(self, data: bytes) -> list[Span]:
        if not self._has_room(data):
            return []
        return [
            (start, start + len(literal), MASK)
            for literal in self._literals
            if literal in data
            for start in _occurrences(literal, data)
        ]

    def _has_room(self, data: bytes) -> bool:
        """Whether there is a piece long enough for the shortest: the time it takes does not grow with the secrets."""
        if not self._literals or len(data) < self._shortest:
            return False
        return self._quoted or max(map(len, data.split(_QUOTE))) >= self._shortest


def _is_escaped(data: bytes) -> bool:
    """Whether there may be encodings to look through."""
    return b"\\" in data or b"%" in data


def _occurrences(literal: bytes, data: bytes) -> Iterator[int]:
    """Overlapping ones too, so that no end of one is left standing behind another."""
    start = data.find(literal)
    while start >= 0:
        yield start
        start = data.find(literal, start + 1)


def _literals(value: str) -> Iterator[bytes]:
    raw = value.encode("utf-8", "surrogatepass")
    yield raw
    if b" " in raw:
        yield raw.replace(b" ", b"+")  # as forms write it
    if len(raw) >= _SHORTEST_IN_BASE64:
        yield from _in_base64(raw)


def _in_base64(raw: bytes) -> Iterator[bytes]:
    """What is certain in base64 of a text that holds the secret, at each of the three places in a group of bytes."""
    for before in range(3):
        whole = len(raw) - (before + len(raw)) % 3
        encoded = b64encode(b"\0" * before + raw[:whole])
        certain = encoded[4 if before else 0 :]
        yield certain
        yield certain.translate(bytes.maketrans(b"+/", b"-_"))
