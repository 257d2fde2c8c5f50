"""Secrets out of what is kept and shown: by the name they stand under, and by their value wherever it stands.

All else stays byte for byte as it travelled. Nothing here raises, whatever the bytes, and the time taken grows with
their number and no faster.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from urllib.parse import quote, urlencode

from adapters.contract import Headers, Masked, Secret
from gateway.telemetry.known_values import KnownValues
from gateway.telemetry.named_values import NamedValues
from gateway.telemetry.spans import MASK, masked_out

KEPT_BYTES = 64 * 1024
"""Of a longer body only the beginning is kept."""

_CREDENTIAL_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
"""Credentials by HTTP's own definition, whatever the dialect declares."""

_MASK = MASK.decode()


class Mask:
    """What to mask in one provider's messages: the names that its adapter declares, and the secrets that we know.

    Each method takes further secrets, known for one message only: a token that the caller gave.
    """

    __slots__ = ("_headers", "_known", "_named")

    def __init__(self, masked: Masked, secrets: Iterable[Secret]) -> None:
        self._headers = _CREDENTIAL_HEADERS | {name.lower() for name in masked.headers}
        self._named = NamedValues(masked.fields)
        self._known = KnownValues(secrets)

    def head(self, headers: Headers, *more: Secret) -> str:
        """Headers as 'Name: value' lines."""
        return "\n".join(
            f"{name}: {_MASK if name.lower() in self._headers else self.text(value, *more)}" for name, value in headers
        )

    def query(self, query: Headers, *more: Secret) -> str:
        """A query as it stands behind a path: '?name=value&...', or '' where there is none."""
        if not query:
            return ""
        pairs = [
            (self.text(name, *more), _MASK if self._named.is_secret(name) else self.text(value, *more))
            for name, value in query
        ]
        return "?" + urlencode(pairs, safe="*", quote_via=quote, errors="surrogatepass")

    def body(self, body: bytes, *more: Secret) -> bytes:
        """A body of any content. Of a long one KEPT_BYTES are kept, and no part of a secret that ends behind them.

        Of one that is not text nothing is kept: a secret could stand in it in a form that nobody looks for.
        """
        if not _is_text(body):
            return b"(not kept: %d bytes that are not text, SHA-256 %s)" % (
                len(body),
                sha256(body).hexdigest().encode(),
            )
        known = self._known_with(more)
        seen = body[: KEPT_BYTES + max(values.reach for values in known)]
        spans = [*self._named.in_body(seen), *(span for values in known for span in values.spans(seen))]
        if not _is_json(body):
            spans += self._named.in_no_format(seen)
        if len(body) <= KEPT_BYTES:
            return masked_out(body, spans)
        kept = masked_out(body[:KEPT_BYTES], (span for span in spans if span[0] < KEPT_BYTES))
        return kept + b"... (cut: the first %d of %d bytes)" % (KEPT_BYTES, len(body))

    def text(self, text: str, *more: Secret) -> str:
        """Words for a person, a header's value: anything that may quote a message."""
        data = text.encode("utf-8", "surrogatepass")
        spans = [
            *self._named.in_text(data),
            *(span for values in self._known_with(more) for span in values.spans(data)),
        ]
        return masked_out(data, spans).decode("utf-8", "surrogatepass")

    def _known_with(self, more: tuple[Secret, ...]) -> tuple[KnownValues, ...]:
        return (self._known, KnownValues(more)) if more else (self._known,)


def _is_text(body: bytes) -> bool:
    try:
        return "\0" not in body.decode()
    except UnicodeDecodeError:
        return False


def _is_json(body: bytes) -> bool:
    """Whether it is JSON of a size that is kept whole: there, what stands under a secret name is found exactly."""
    if len(body) > KEPT_BYTES:
        return False
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
