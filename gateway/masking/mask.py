"""Masks secrets by field name, and by value wherever they occur.

All other bytes stay as they were. Nothing here raises, whatever the bytes. Time is linear in their number.
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
from gateway.masking.ranges import MASK, Range, replace_ranges

KEPT_BYTES = 64 * 1024
"""A longer body is cut."""

_CREDENTIAL_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
"""Credentials by the definition of HTTP, for every dialect."""

_NOT_KEPT = re.compile(rb"\(not kept: [0-9]+ bytes that are not text, SHA-256 [0-9a-f]{64}\)")
_CUT = re.compile(rb"\.\.\. \(cut: the first [0-9]+ of [0-9]+ bytes\)\Z")

_CACHED_HEADS = 64

_MASK = MASK.decode()


class Mask:
    """Masks one provider's messages: the fields that its adapter declares, and the known secrets.

    Masks of many providers share one KnownSecrets.
    """

    __slots__ = ("_extra", "_fields", "_head", "_headers", "_known")

    def __init__(self, sensitive: SensitiveFields, secrets: Iterable[Secret] | KnownSecrets) -> None:
        self._headers = _CREDENTIAL_HEADERS | {name.lower() for name in sensitive.headers}
        self._fields = SecretFieldMatcher(sensitive.fields)
        self._known = secrets if isinstance(secrets, KnownSecrets) else KnownSecrets(secrets)
        self._extra: SecretValueMatcher | None = None
        """Secrets of one message."""
        # A provider sends the same few headers each time. The known secrets are part of the cache's key.
        self._head: Callable[[Headers, SecretValueMatcher], str] = lru_cache(maxsize=_CACHED_HEADS)(self._masked_head)

    def also(self, *secrets: Secret) -> "Mask":
        """A mask that knows these secrets too, for one message, such as the token that a caller gave."""
        unknown = [secret for secret in secrets if not any(values.holds(secret) for values in self._all_values())]
        if not unknown:
            return self
        mask: Mask = copy(self)
        mask._extra = self._extra.with_secrets(unknown) if self._extra else SecretValueMatcher(unknown)
        mask._head = mask._masked_head  # the secrets of one message stay in no cache
        return mask

    def head(self, headers: Headers) -> str:
        """Headers as 'Name: value' lines."""
        return self._head(headers, self._known.values)

    def _masked_head(self, headers: Headers, _: SecretValueMatcher) -> str:
        return "\n".join(
            [f"{name}: {_MASK if name.lower() in self._headers else self.text(value)}" for name, value in headers]
        )

    def query(self, query: Headers) -> str:
        """A query as in a URL: '?name=value&...', or '' if there is none."""
        if not query:
            return ""
        pairs = [
            (self.text(name), _MASK if self._fields.is_secret(name) else self.text(value)) for name, value in query
        ]
        return "?" + urlencode(pairs, safe="*", quote_via=quote, errors="surrogatepass")

    def body(self, body: bytes) -> bytes:
        """A body, masked. A long one is cut to KEPT_BYTES, without a part of a secret at the cut.

        A body that is not text is replaced by its digest: it could hold a secret in an encoding that is not searched.
        """
        if len(body) <= KEPT_BYTES and self._surely_clean(body):
            return body
        if not _is_text(body):
            return b"(not kept: %d bytes that are not text, SHA-256 %s)" % (
                len(body),
                sha256(body).hexdigest().encode(),
            )
        searched = body[: KEPT_BYTES + max(values.max_match_bytes for values in self._all_values())]
        ranges = self._fields.in_body(searched) + self._find_values(searched)
        if not _is_json(body):
            ranges += self._fields.in_no_format(searched)
        if len(body) <= KEPT_BYTES:
            return replace_ranges(body, ranges) if ranges else body
        kept = replace_ranges(body[:KEPT_BYTES], (found for found in ranges if found[0] < KEPT_BYTES))
        return kept + b"... (cut: the first %d of %d bytes)" % (KEPT_BYTES, len(body))

    def text(self, text: str) -> str:
        """A text that may quote a message, such as an error text or a header's value."""
        if not text:
            return text
        data = text.encode("utf-8", "surrogatepass")
        if self._surely_clean(data):
            return text
        ranges = self._fields.in_text(data) + self._find_values(data)
        return replace_ranges(data, ranges).decode("utf-8", "surrogatepass") if ranges else text

    def is_clean(self, data: bytes) -> bool:
        """A quick check: True if there is certainly nothing to mask, False if it cannot decide.

        Without escapes there is nothing to decode, and without `=` no form field. JSON members are not searched: it is
        for data whose names are known.
        """
        return b"\\" not in data and b"%" not in data and b"=" not in data and not self._contains_unencoded(data)

    def _surely_clean(self, data: bytes) -> bool:
        """A quick check that most messages pass: True if it is text with certainly nothing to mask."""
        return b"\0" not in data and self._fields.surely_absent(data) and not self._contains_unencoded(data)

    def _contains_unencoded(self, data: bytes) -> bool:
        return self._known.values.contains_unencoded(data) or (
            self._extra is not None and self._extra.contains_unencoded(data)
        )

    def _find_values(self, data: bytes) -> list[Range]:
        found = self._known.values.find(data)
        return found if self._extra is None else found + self._extra.find(data)

    def _all_values(self) -> tuple[SecretValueMatcher, ...]:
        return (self._known.values,) if self._extra is None else (self._known.values, self._extra)


def describe_truncation(body: bytes) -> str:
    """What is missing of a stored body, for an operator; '' if nothing but masked values."""
    if _NOT_KEPT.fullmatch(body):
        return "its body was not text and was not stored"
    if _CUT.search(body):
        return "its body was too long and only its beginning was stored"
    return ""


def _is_text(body: bytes) -> bool:
    try:
        return "\0" not in body.decode()
    except UnicodeDecodeError:
        return False


def _is_json(body: bytes) -> bool:
    """Whether it is JSON that is kept whole: there the values of secret names are found exactly."""
    if len(body) > KEPT_BYTES:
        return False
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
