"""The form of requests: every field at fault is named, in one answer, before anything happens."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.sessions.errors import FieldViolation, GatewayError, Reason
from gateway.store.base import PageTokenUnknown
from gateway.wallet import formats
from gateway.wallet.formats import MAX_ID_LENGTH

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LONGEST_TOKEN = 4096
LONGEST_REASON = 1000

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_APP_VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)", re.ASCII)


_ANOTHER_LISTS = "was not given by this list with these conditions: leave it empty to start from its first page"


class RequestValidator:
    """Collects what is wrong with a request. Ask for every field, then `check`."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def add_violation(self, field: str, description: str) -> None:
        """Note a violation."""
        self._violations.append(FieldViolation(field, description))

    def check(self, *, provider: str = "", request_id: str = "") -> None:
        """Raise Failure with all violations, if there are any; with the ids that are not among them."""
        if not self._violations:
            return
        wrong = {violation.field for violation in self._violations}
        raise GatewayError(
            Reason.FIELD_INVALID,
            "; ".join(f"{violation.field} {violation.description}" for violation in self._violations),
            provider="" if "provider" in wrong else provider,
            request_id="" if "request_id" in wrong else request_id,
            violations=tuple(self._violations),
        )

    def text(self, field: str, value: str, *, required: bool = False, longest: int = MAX_ID_LENGTH) -> str:
        """An id or a short text: of bounded length, without control characters."""
        if required and not value:
            self.add_violation(field, "is required")
        elif len(value) > longest:
            self.add_violation(field, f"is longer than {longest} characters")
        elif formats.has_control(value):
            self.add_violation(field, "has a control character")
        return value

    def request_id(self, value: str) -> str:
        """A UUID in its usual spelling, or nothing; answered in lower case."""
        if value and not _UUID.fullmatch(value):
            self.add_violation("request_id", "is not a UUID, such as 123e4567-e89b-42d3-a456-426614174000")
        return value.lower()

    def required_text(self, field: str, value: str, *, longest: int = MAX_ID_LENGTH) -> str:
        """What a person states, and others will read: who, or why. Required, and more than blanks."""
        return self.text(field, value.strip(), required=True, longest=longest)

    def page_size(self, value: int, usual: int = DEFAULT_PAGE_SIZE, most: int = MAX_PAGE_SIZE) -> int:
        """How many entries a page may have: the usual number for 0, and no more than `most`, whatever is asked."""
        if value < 0:
            self.add_violation("page_size", "is negative: leave it 0 for pages of the usual size")
        return min(value, most) or usual

    def page_token(self, value: str, *query: str) -> str:
        """Where a list goes on, as the store says it: given by `next_page` for the same query, or nothing."""
        mark = _mark(query)
        if value and not value.startswith(mark):
            self.add_violation("page_token", _ANOTHER_LISTS)
        return value.removeprefix(mark)

    def app_version(self, field: str, value: str) -> str:
        """X.Y.Z, or nothing."""
        if value and (len(value) > MAX_ID_LENGTH or not _APP_VERSION.fullmatch(value)):
            self.add_violation(field, "is not of the form X.Y.Z, such as 1.0.10")
        return value

    def currency(self, field: str, value: str) -> str:
        """ISO 4217 or a vendor's code of a crypto currency."""
        if not value:
            self.add_violation(field, "is required")
        elif not formats.is_currency(value):
            self.add_violation(field, "is not a currency code: 3 to 10 of A-Z and 0-9, such as EUR")
        return value

    def money(self, field: str, value: str, *, required: bool = True) -> Decimal:
        """An exact decimal; 0 where it is absent or wrong."""
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
    """The proto's form of an aware time."""
    since = time - _EPOCH
    return Timestamp(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)


def next_page(token: str, *query: str) -> str:
    """A store's page token as a caller gets it: it opens no page of another list, or with other conditions."""
    return token and _mark(query) + token


def _mark(query: tuple[str, ...]) -> str:
    return sha256("\0".join(query).encode()).hexdigest()[:16]


@contextmanager
def known_page() -> Iterator[None]:
    """Around what reads a page. Raises Failure FIELD_INVALID where its page_token was not given for such a list."""
    try:
        yield
    except PageTokenUnknown:
        fields = RequestValidator()
        fields.add_violation("page_token", _ANOTHER_LISTS)
        fields.check()
