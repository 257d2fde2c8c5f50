"""Finds known secrets in a text, as they are or encoded."""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from adapters.contract import Secret
from gateway.masking.encodings import DecodedView, views
from gateway.masking.ranges import MASK, Range

MIN_LENGTH = 4
"""Secrets of fewer characters are masked by field name only. '7' occurs in most amounts and ids: masking it there makes
the journal useless, and shows the secret by what is missing."""

_QUOTE = b'"'

_MIN_BASE64_BYTES = 8
"""Fewer bytes leave so few certain base64 characters that other data matches by chance."""

_INDEX_THRESHOLD = 64
"""With more literals than this, an index of pieces selects those to search for."""

_MAX_PIECE = 8
"""Bytes of one indexed piece."""

_MAX_STRIDE = 8
"""A text is sampled at every n-th byte."""

_MAX_EXPANSION = 12
"""Bytes that the supported encodings need for one byte, at most."""


class SecretValueMatcher:
    """Finds known secrets: raw, JSON-escaped and percent-encoded in any mixture, and in base64.

    Hundreds of providers have thousands of literals. The index holds the last pieces of each literal, one for each
    offset within the stride, so that one of them is sampled wherever the literal occurs.
    """

    __slots__ = ("_has_quotes", "_index", "_literals", "_min_length", "_piece", "_stride", "_values", "max_match_bytes")

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._values = frozenset(secret.reveal() for secret in secrets)
        self._literals = tuple(
            {literal for value in self._values if len(value) >= MIN_LENGTH for literal in _literals(value)}
        )
        self._min_length = min(map(len, self._literals), default=0)
        self._has_quotes = any(_QUOTE in literal for literal in self._literals)
        self._piece = min(_MAX_PIECE, (self._min_length + 1) // 2)
        self._stride = min(_MAX_STRIDE, self._min_length - self._piece + 1)
        self._index: dict[bytes, list[bytes]] = {}
        if len(self._literals) > _INDEX_THRESHOLD:
            for literal in self._literals:
                for end in range(len(literal) - self._stride + 1, len(literal) + 1):
                    self._index.setdefault(literal[end - self._piece : end], []).append(literal)
        self.max_match_bytes = _MAX_EXPANSION * max(map(len, self._literals), default=0)

    def holds(self, secret: Secret) -> bool:
        """Whether this is one of the secrets."""
        return secret.reveal() in self._values

    def with_secrets(self, secrets: Iterable[Secret]) -> "SecretValueMatcher":
        """A matcher for these secrets and the given ones."""
        return SecretValueMatcher((*map(Secret, self._values), *secrets))

    def contains_unencoded(self, data: bytes) -> bool:
        """Whether a secret occurs as it is, or in base64. No escapes are decoded."""
        return self._has_long_piece(data) and any(literal in data for literal in self.candidates(data))

    def find(self, data: bytes) -> list[Range]:
        """The range of every occurrence."""
        if not self._literals or len(data) < self._min_length:
            return []
        if b"\\" in data or b"%" in data:
            found_in: Iterable[DecodedView] = views(DecodedView(data))
        elif self._has_long_piece(data):
            found_in = (DecodedView(data),)
        else:
            return []
        return [
            (*view.origin(start, start + len(literal)), MASK)
            for view in found_in
            for literal in self.candidates(view.data)
            if literal in view.data
            for start in _occurrences(literal, view.data)
        ]

    def candidates(self, data: bytes) -> Iterable[bytes]:
        """The literals that may occur unencoded: a superset of those that do."""
        if not self._index:
            return self._literals
        pieces = {data[at : at + self._piece] for at in range(0, len(data), self._stride)}
        return {literal for piece in self._index.keys() & pieces for literal in self._index[piece]}

    def _has_long_piece(self, data: bytes) -> bool:
        """Whether a piece between quotes is as long as the shortest literal: most JSON has none."""
        if not self._literals or len(data) < self._min_length:
            return False
        if self._has_quotes:
            return True
        at, last = 0, len(data) - self._min_length
        while at <= last:  # the last quote within the shortest length rules out all starts before it
            quote = data.rfind(_QUOTE, at, at + self._min_length)
            if quote < 0:
                return True
            at = quote + 1
        return False


class KnownSecrets:
    """The secrets that all masks of a process share. It only grows: a secret that was replaced stays one."""

    __slots__ = ("values",)

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self.values = SecretValueMatcher(secrets)
        """Replaced as a whole, because threads that log read it too."""

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Add secrets to every mask."""
        if unknown := [secret for secret in secrets if not self.values.holds(secret)]:
            self.values = self.values.with_secrets(unknown)


def _occurrences(literal: bytes, data: bytes) -> Iterator[int]:
    """Every start, of overlapping occurrences too: each is masked to its end."""
    start = data.find(literal)
    while start >= 0:
        yield start
        start = data.find(literal, start + 1)


def _literals(value: str) -> Iterator[bytes]:
    raw = value.encode("utf-8", "surrogatepass")
    yield raw
    if b" " in raw:
        yield raw.replace(b" ", b"+")  # as in forms
    if len(raw) >= _MIN_BASE64_BYTES:
        for encoded in _escaped(value, raw):
            yield from _in_base64(encoded)


def _escaped(value: str, raw: bytes) -> Iterable[bytes]:
    """The secret as it is, and as it can stand in JSON or in a URL: these may be in base64 as a whole."""
    in_json = {json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    return {
        raw,
        *(text.encode("utf-8", "surrogatepass") for text in in_json),
        *(quote(raw, safe).encode() for safe in ("", "/")),
        quote_plus(raw).encode(),
    }


def _in_base64(raw: bytes) -> Iterator[bytes]:
    """The base64 characters that depend on the secret alone, at each of the three offsets in a group."""
    for before in range(3):
        whole = len(raw) - (before + len(raw)) % 3
        encoded = b64encode(b"\0" * before + raw[:whole])
        certain = encoded[4 if before else 0 :]
        yield certain
        yield certain.translate(bytes.maketrans(b"+/", b"-_"))
