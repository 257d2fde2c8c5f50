"""The form of requests: every field at fault is named, in one answer, before anything happens."""

import re
from datetime import datetime
from decimal import Decimal

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.sessions.failure import Failure, FieldViolation, Reason

LONGEST_ID = 255
LONGEST_TOKEN = 4096

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_APP_VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MONEY = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]{1,18})?", re.ASCII)
_MOST_DIGITS = 32
_CURRENCY = re.compile(r"[A-Z0-9]{3,10}", re.ASCII)


class Fields:
    """Collects what is wrong with a request. Ask for every field, then `check`."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def wrong(self, field: str, description: str) -> None:
        """Note a violation."""
        self._violations.append(FieldViolation(field, description))

    def check(self, *, provider: str = "", request_id: str = "") -> None:
        """Raise Failure with all violations, if there are any; with the ids that are not among them."""
        if not self._violations:
            return
        wrong = {violation.field for violation in self._violations}
        raise Failure(
            Reason.FIELD_INVALID,
            "; ".join(f"{violation.field} {violation.description}" for violation in self._violations),
            provider="" if "provider" in wrong else provider,
            request_id="" if "request_id" in wrong else request_id,
            violations=tuple(self._violations),
        )

    def text(self, field: str, value: str, *, required: bool = False, longest: int = LONGEST_ID) -> str:
        """An id or a short text: of bounded length, without control characters."""
        if required and not value:
            self.wrong(field, "is required")
        elif len(value) > longest:
            self.wrong(field, f"is longer than {longest} characters")
        elif _CONTROL.search(value):
            self.wrong(field, "has a control character")
        return value

    def request_id(self, value: str) -> str:
        """A UUID in its usual spelling, or nothing; answered in lower case."""
        if value and not _UUID.fullmatch(value):
            self.wrong("request_id", "is not a UUID, such as 123e4567-e89b-42d3-a456-426614174000")
        return value.lower()

    def app_version(self, field: str, value: str) -> str:
        """X.Y.Z, or nothing."""
        if value and (len(value) > LONGEST_ID or not _APP_VERSION.fullmatch(value)):
            self.wrong(field, "is not of the form X.Y.Z, such as 1.0.10")
        return value

    def currency(self, field: str, value: str) -> str:
        """ISO 4217 or a vendor's code of a crypto currency."""
        if not value:
            self.wrong(field, "is required")
        elif not _CURRENCY.fullmatch(value):
            self.wrong(field, "is not a currency code: 3 to 10 of A-Z and 0-9, such as EUR")
        return value

    def money(self, field: str, value: str, *, required: bool = True) -> Decimal:
        """An exact decimal; 0 where it is absent or wrong."""
        if not value:
            if required:
                self.wrong(field, "is required")
            return Decimal(0)
        if not _MONEY.fullmatch(value) or sum(map(str.isdigit, value)) > _MOST_DIGITS:
            self.wrong(
                field,
                "is not an amount: digits, with at most 18 after the point and 32 in all, "
                "no sign and no exponent, such as 10.50",
            )
            return Decimal(0)
        return Decimal(value)


def timestamp(time: datetime) -> Timestamp:
    """The proto's form of an aware time."""
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
