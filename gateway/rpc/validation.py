"""Validation of requests: one error names every invalid field, before anything is done."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256

from google.protobuf.timestamp_pb2 import Timestamp

from adapters.contract import is_reference
from gateway.rpc import caller
from gateway.sessions.errors import FieldViolation, GatewayError, Reason
from gateway.store.base import PageTokenUnknown
from gateway.store.models import Actor
from gateway.wallet import formats
from gateway.wallet.formats import MAX_ID_LENGTH

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MAX_TOKEN_LENGTH = 4096
MAX_REASON_LENGTH = 1000

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_APP_VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)", re.ASCII)

_OTHER_LIST = "is not from this list with these filters: leave it empty for the first page"


class RequestValidator:
    """Collects the violations of a request. Read every field, then call `check`."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def add_violation(self, field: str, description: str) -> None:
        """Add a violation."""
        self._violations.append(FieldViolation(field, description))

    def check(self, *, provider: str = "", request_id: str = "") -> None:
        """Raise GatewayError FIELD_INVALID if there are violations; it holds those of the ids that are valid."""
        if not self._violations:
            return
        invalid = {violation.field for violation in self._violations}
        raise GatewayError(
            Reason.FIELD_INVALID,
            "; ".join(f"{violation.field} {violation.description}" for violation in self._violations),
            provider="" if "provider" in invalid else provider,
            request_id="" if "request_id" in invalid else request_id,
            violations=tuple(self._violations),
        )

    def text(self, field: str, value: str, *, required: bool = False, max_length: int = MAX_ID_LENGTH) -> str:
        """An id or a short text, without control characters."""
        if required and not value:
            self.add_violation(field, "is required")
        elif len(value) > max_length:
            self.add_violation(field, f"is longer than {max_length} characters")
        elif formats.has_control(value):
            self.add_violation(field, "has a control character")
        return value

    def reference(self, field: str, value: str, *, required: bool = False) -> str:
        """The id of a Result or of a promotional prize: see adapters.contract.is_reference."""
        violations = len(self._violations)
        self.text(field, value, required=required)
        if value and len(self._violations) == violations and not is_reference(value):
            self.add_violation(field, "has a blank at its beginning or end, or an invisible character")
        return value

    def request_id(self, value: str) -> str:
        """A UUID with hyphens, or nothing; returned in lower case."""
        if value and not _UUID.fullmatch(value):
            self.add_violation("request_id", "is not a UUID, such as 123e4567-e89b-42d3-a456-426614174000")
        return value.lower()

    def required_text(self, field: str, value: str, *, max_length: int = MAX_ID_LENGTH) -> str:
        """What an operator writes, such as a reason. Required, and not blank."""
        return self.text(field, value.strip(), required=True, max_length=max_length)

    def actor(self, on_behalf_of: str, deprecated_actor: str) -> Actor:
        """The caller, and the person on whose behalf it acts, who is required where the caller has no name.

        `deprecated_actor` is read as that person where `on_behalf_of` is empty.
        """
        field, value = ("on_behalf_of", on_behalf_of)
        if deprecated_actor and not on_behalf_of.strip():
            field, value = ("actor", deprecated_actor)
        return caller.actor(self.text(field, value.strip(), required=caller.is_anonymous()))

    def page_size(self, value: int, default: int = DEFAULT_PAGE_SIZE, maximum: int = MAX_PAGE_SIZE) -> int:
        """The maximum number of entries of a page: the default for 0, and never more than `maximum`."""
        if value < 0:
            self.add_violation("page_size", "is negative: leave it 0 for the default size")
        return min(value, maximum) or default

    def page_token(self, value: str, *query: str) -> str:
        """The store's page token from a token that `next_page` made for the same query, or nothing."""
        prefix = _query_hash(query)
        if value and not value.startswith(prefix):
            self.add_violation("page_token", _OTHER_LIST)
        return value.removeprefix(prefix)

    def app_version(self, field: str, value: str) -> str:
        """X.Y.Z, or nothing."""
        if value and (len(value) > MAX_ID_LENGTH or not _APP_VERSION.fullmatch(value)):
            self.add_violation(field, "is not of the form X.Y.Z, such as 1.0.10")
        return value

    def currency(self, field: str, value: str) -> str:
        """A code of ISO 4217, or a vendor's code of a crypto currency."""
        if not value:
            self.add_violation(field, "is required")
        elif not formats.is_currency(value):
            self.add_violation(field, "is not a currency code: 3 to 10 of A-Z and 0-9, such as EUR")
        return value

    def money(self, field: str, value: str, *, required: bool = True) -> Decimal:
        """An exact decimal; 0 where it is absent or invalid."""
        if not value:
            if required:
                self.add_violation(field, "is required")
            return Decimal(0)
        amount = formats.money(value)
        if amount is None:
            self.add_violation(
                field,
                "is not an amount: digits, with at most 18 after the point and 32 in all, "
                "no sign and no exponent, such as 10.50",
            )
            return Decimal(0)
        return amount


def timestamp(time: datetime) -> Timestamp:
    """An aware time as a protobuf Timestamp."""
    since = time - _EPOCH
    return Timestamp(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)


def next_page(token: str, *query: str) -> str:
    """A store's page token for callers, bound to this query: another list or other filters reject it."""
    return token and _query_hash(query) + token


def _query_hash(query: tuple[str, ...]) -> str:
    return sha256("\0".join(query).encode()).hexdigest()[:16]


@contextmanager
def known_page() -> Iterator[None]:
    """Around the reading of a page. Raises GatewayError FIELD_INVALID where the store does not know its token."""
    try:
        yield
    except PageTokenUnknown:
        fields = RequestValidator()
        fields.add_violation("page_token", _OTHER_LIST)
        fields.check()
