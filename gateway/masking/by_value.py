"""Where a secret that we know stands in a text, as it is or in the encodings that it may travel in."""

from base64 import b64encode
from collections.abc import Iterable, Iterator

from adapters.contract import Secret
from gateway.masking.encodings import DecodedView, views
from gateway.masking.ranges import MASK, Range

SHORTEST = 4
"""Secrets of fewer characters are masked by name only. One such as '7' stands in every amount and every id: masking it
there would ruin what the journal is kept for, and would tell the secret by what is missing."""

_QUOTE = b'"'

_SHORTEST_IN_BASE64 = 8
"""Of a shorter one so little is certain in base64 that chance would find it."""

_MANY = 64
"""Of more literals than these, only those are looked for of which a piece was seen."""

_PIECE = 8
_STRIDE = 8
"""Pieces of so many bytes are looked at, one at every so manieth byte."""

_LONGEST_ENCODING = 12
"""Bytes that the encodings looked through make of one byte, at most."""


class SecretValueMatcher:
    """Finds known secrets: raw, JSON-escaped and percent-encoded in any mixture, and in base64.

    With hundreds of providers there are thousands of literals. Of each, the pieces near its end are remembered, at as
    many offsets as the stride has, so that one of them is met wherever the literal stands.
    """

    __slots__ = ("_literals", "_piece", "_pieces", "_quoted", "_shortest", "_stride", "_values", "reach")

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._values = frozenset(secret.reveal() for secret in secrets)
        self._literals = tuple(
            {literal for value in self._values if len(value) >= SHORTEST for literal in _literals(value)}
        )
        self._shortest = min(map(len, self._literals), default=0)
        self._quoted = any(_QUOTE in literal for literal in self._literals)
        self._piece = min(_PIECE, (self._shortest + 1) // 2)
        self._stride = min(_STRIDE, self._shortest - self._piece + 1)
        self._pieces: dict[bytes, list[bytes]] = {}
        if len(self._literals) > _MANY:
            for literal in self._literals:
                for end in range(len(literal) - self._stride + 1, len(literal) + 1):
                    self._pieces.setdefault(literal[end - self._piece : end], []).append(literal)
        self.reach = _LONGEST_ENCODING * max(map(len, self._literals), default=0)
        """An occurrence is at most so many bytes long."""

    def holds(self, secret: Secret) -> bool:
        """Whether this is one of the secrets."""
        return secret.reveal() in self._values

    def with_secrets(self, secrets: Iterable[Secret]) -> "SecretValueMatcher":
        """These, and others."""
        return SecretValueMatcher((*map(Secret, self._values), *secrets))

    def contains_unencoded(self, data: bytes) -> bool:
        """Whether any stands there as it is, or in base64: what looks through no escapes."""
        return self._has_room(data) and any(literal in data for literal in self._likely(data))

    def spans(self, data: bytes) -> list[Range]:
        """Every occurrence."""
        if not self._literals or len(data) < self._shortest:
            return []
        if not _is_escaped(data):
            return self._plain_spans(data)
        return [
            (*view.origin(start, start + len(literal)), MASK)
            for view in views(DecodedView(data))
            for literal in self._likely(view.data)
            for start in _occurrences(literal, view.data)
        ]

    def _plain_spans(self, data: bytes) -> list[Range]:
        if not self._has_room(data):
            return []
        return [
            (start, start + len(literal), MASK)
            for literal in self._likely(data)
            if literal in data
            for start in _occurrences(literal, data)
        ]

    def _likely(self, data: bytes) -> Iterable[bytes]:
        """The literals that may stand there as they are: all that do are among them."""
        if not self._pieces:
            return self._literals
        pieces = {data[at : at + self._piece] for at in range(0, len(data), self._stride)}
        return {literal for piece in self._pieces.keys() & pieces for literal in self._pieces[piece]}

    def _has_room(self, data: bytes) -> bool:
        """Whether there is a piece long enough for the shortest: the time it takes does not grow with the secrets."""
        if not self._literals or len(data) < self._shortest:
            return False
        if self._quoted:
            return True
        at, last = 0, len(data) - self._shortest
        while at <= last:  # no piece that long lies over the last quote of as many bytes
            quote = data.rfind(_QUOTE, at, at + self._shortest)
            if quote < 0:
                return True
            at = quote + 1
        return False


class KnownSecrets:
    """What the masks of a process know together. It only ever grows: a secret that was replaced stays one."""

    __slots__ = ("values",)

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self.values = SecretValueMatcher(secrets)
        """Exchanged as a whole, since threads that log read it too."""

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Know these secrets too, in every mask, from here on."""
        if strangers := [secret for secret in secrets if not self.values.holds(secret)]:
            self.values = self.values.with_secrets(strangers)


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
