"""Secrets out of what is kept and shown: by the name they stand under, and by their value wherever it stands.

All else stays byte for byte as it travelled. Nothing here raises, whatever the bytes, and the time taken grows with
their number and no faster.
"""

import json
import re
from collections.abc import Callable, Iterable
from copy import copy
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote, urlencode

from adapters.contract import Headers, Secret, SensitiveFields
from gateway.masking.by_field_name import SecretFieldMatcher
from gateway.masking.by_value import KnownSecrets, SecretValueMatcher
from gateway.masking.ranges import MASK, replace_ranges

KEPT_BYTES = 64 * 1024
"""Of a longer body only the beginning is kept."""

_CREDENTIAL_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
"""Credentials by HTTP's own definition, whatever the dialect declares."""

_NOT_KEPT = re.compile(rb"\(not kept: [0-9]+ bytes that are not text, SHA-256 [0-9a-f]{64}\)")
_CUT = re.compile(rb"\.\.\. \(cut: the first [0-9]+ of [0-9]+ bytes\)\Z")

_HEADS_REMEMBERED = 64

_MASK = MASK.decode()


class Mask:
    """What to mask in one provider's messages: the names that its adapter declares, and the secrets that we know.

    The masks of many providers share what is known of their secrets: it grows with their number.
    """

    __slots__ = ("_head", "_headers", "_known", "_more", "_named")

    def __init__(self, masked: SensitiveFields, secrets: Iterable[Secret] | KnownSecrets) -> None:
        self._headers = _CREDENTIAL_HEADERS | {name.lower() for name in masked.headers}
        self._named = SecretFieldMatcher(masked.fields)
        self._known = secrets if isinstance(secrets, KnownSecrets) else KnownSecrets(secrets)
        self._more: SecretValueMatcher | None = None
        """Secrets of one message."""
        # A provider sends the same few headers each time. What was made with fewer secrets known is not answered again.
        self._head: Callable[[Headers, SecretValueMatcher], str] = lru_cache(maxsize=_HEADS_REMEMBERED)(
            self._masked_head
        )

    def also(self, *secrets: Secret) -> "Mask":
        """A mask that knows these secrets too, for one message: a token that the caller gave."""
        others = [secret for secret in secrets if not any(known.holds(secret) for known in self._all_known())]
        if not others:
            return self
        return copy(self)._knowing(self._more.with_secrets(others) if self._more else SecretValueMatcher(others))  # noqa: SLF001 - one of this class

    def _knowing(self, more: SecretValueMatcher) -> "Mask":
        self._more = more
        self._head = self._masked_head  # nothing of one message is remembered
        return self

    def head(self, headers: Headers) -> str:
        """Headers as 'Name: value' lines."""
        return self._head(headers, self._known.values)

    def _masked_head(self, headers: Headers, _: SecretValueMatcher) -> str:
        return "\n".join(
            [f"{name}: {_MASK if name.lower() in self._headers else self.text(value)}" for name, value in headers]
        )

    def query(self, query: Headers) -> str:
        """A query as it stands behind a path: '?name=value&...', or '' where there is none."""
        if not query:
            return ""
        pairs = [(self.text(name), _MASK if self._named.is_secret(name) else self.text(value)) for name, value in query]
        return "?" + urlencode(pairs, safe="*", quote_via=quote, errors="surrogatepass")

    def body(self, body: bytes) -> bytes:
        """A body of any content. Of a long one KEPT_BYTES are kept, and no part of a secret that ends behind them.

        Of one that is not text nothing is kept: a secret could stand in it in a form that nobody looks for.
        """
        if len(body) <= KEPT_BYTES and self._surely_nothing_in(body):
            return body
        if not _is_text(body):
            return b"(not kept: %d bytes that are not text, SHA-256 %s)" % (
                len(body),
                sha256(body).hexdigest().encode(),
            )
        seen = (
            body if len(body) <= KEPT_BYTES else body[: KEPT_BYTES + max(values.reach for values in self._all_known())]
        )
        spans = self._named.in_body(seen)
        for values in self._all_known():
            spans += values.spans(seen)
        if not _is_json(body):
            spans += self._named.in_no_format(seen)
        if len(body) <= KEPT_BYTES:
            return replace_ranges(body, spans) if spans else body
        kept = replace_ranges(body[:KEPT_BYTES], (span for span in spans if span[0] < KEPT_BYTES))
        return kept + b"... (cut: the first %d of %d bytes)" % (KEPT_BYTES, len(body))

    def text(self, text: str) -> str:
        """Words for a person, a header's value: anything that may quote a message."""
        if not text:
            return text
        data = text.encode("utf-8", "surrogatepass")
        if self._surely_nothing_in(data):
            return text
        spans = self._named.in_text(data)
        for values in self._all_known():
            spans += values.spans(data)
        return replace_ranges(data, spans).decode("utf-8", "surrogatepass") if spans else text

    def is_clean(self, data: bytes) -> bool:
        """Whether, by a look that costs next to nothing, there is surely nothing to mask; False where it cannot tell.

        Without escapes there is nothing to look through, and without an `=` no form field. Members of JSON are not
        looked for: it is for data whose names are known.
        """
        disguises = b"\\" in data or b"%" in data or b"=" in data
        return not disguises and not self._stand_plainly_in(data)

    def _surely_nothing_in(self, data: bytes) -> bool:
        """Whether it is text with nothing to mask, by one quick look that most messages pass."""
        return b"\0" not in data and self._named.surely_absent(data) and not self._stand_plainly_in(data)

    def _stand_plainly_in(self, data: bytes) -> bool:
        return self._known.values.contains_unencoded(data) or (
            self._more is not None and self._more.contains_unencoded(data)
        )

    def _all_known(self) -> tuple[SecretValueMatcher, ...]:
        return (self._known.values,) if self._more is None else (self._known.values, self._more)


def describe_truncation(body: bytes) -> str:
    """What is missing of a body that was kept, for a person; '' where all of it is there, masked values apart."""
    if _NOT_KEPT.fullmatch(body):
        return "it was not text, and nothing of it was kept"
    if _CUT.search(body):
        return "it was too long, and only its beginning was kept"
    return ""


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
