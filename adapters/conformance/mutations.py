"""Checks: a callback with a missing, duplicate or malformed field is refused, never guessed at.

The suite finds out which place of a message carries a value by changing it: where the notification changes too, the
place carries it. Only `decode` is checked there, since a signature refuses any change and a valid signature proves no
form.
"""

from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Generic, TypeVar

from adapters.conformance import wire
from adapters.conformance.case import Case, result_of
from adapters.conformance.goldens import verify_and_decode
from adapters.conformance.substitutions import Place, places
from adapters.contract import Callback, CallbackFault, CallbackRefused, HttpRequest, Notification, Result
from adapters.golden import CallbackGolden, FaultExpected

_Place = Place[HttpRequest]

NotificationT = TypeVar("NotificationT", bound=Notification)


@dataclass(frozen=True, slots=True)
class _Sample(Generic[NotificationT]):
    """A golden callback that is a notification."""

    callback: Callback[Any, Notification]
    golden: CallbackGolden
    notification: NotificationT

    def decode(self, request: HttpRequest) -> object:
        """The notification of another request, or the refusal."""
        return result_of(self.callback.decode, self.golden.account, request)

    def is_accepted(self, request: HttpRequest) -> bool:
        """Whether both verify and decode accept another request."""
        result = result_of(verify_and_decode, self.callback, self.golden.account, request)
        return not isinstance(result, CallbackRefused)

    def carriers(self, read: Callable[[Any], object]) -> tuple[_Place, ...]:
        """The places that carry what `read` takes from the notification."""
        return tuple(place for place in places(self.golden.request) if self._carries(place, read))

    def _carries(self, place: _Place, read: Callable[[Any], object]) -> bool:
        if place.another is None:
            return False
        got = self.decode(place.put(place.another))
        return not isinstance(got, CallbackRefused) and read(got) != read(self.notification)


def _notifications(case: Case) -> Iterator[_Sample[Notification]]:
    for callback, golden in case.callbacks:
        if not isinstance(golden.expect, FaultExpected):
            yield _Sample(callback, golden, golden.expect)


def _results(case: Case) -> Iterator[_Sample[Result]]:
    for callback, golden in case.callbacks:
        if isinstance(golden.expect, Result):
            yield _Sample(callback, golden, golden.expect)


def _itself(notification: Notification) -> Notification:
    return notification


def _amounts(result: Result) -> object:
    return result.amount, result.promo and result.promo.amount


def _reference(result: Result) -> str:
    return result.reference


# --- Money ------------------------------------------------------------------------------------------------------------

_EXPONENTS = ("1.5e1", "1E1", "1e-2", "1E+2")
"""Plain money in a JSON number, as Java writes 10000000 as 1.0E7, and none in a text."""

NO_MONEY = (
    *_EXPONENTS,
    *("1e33", "1e-19", "1e400", "-1e1"),
    *("01", "00", "1_0", "\u0661", "\uff11", " 5 ", "5 ", "\t5", "5\n", "+1", "-1"),
    *("-0", "-0.0", "NaN", "sNaN", "Infinity", "1.", ".5", "0x10", "1,5", "1 000", "1/2", "", "9" * 33),
    *(f"0.{'1' * 19}", "\u20ac5"),
)
"""Texts that some number parser accepts, and that are not plain money."""

_NO_SCALAR = tuple(wire.Literal(text) for text in ("null", "true", "[]", "[10]", "{}"))


def amounts_are_parsed_strictly(case: Case) -> None:
    """An amount with a sign, a leading zero, non-ASCII digits, space or too many digits is refused.

    So is one with an exponent in a text. A JSON number may have one.
    """
    for sample in _results(case):
        for place in sample.carriers(_amounts):
            for what, request in _without_money(place):
                got = sample.decode(request)
                if not isinstance(got, CallbackRefused):
                    raise case.failure(
                        f"{what[:40]!r} in {place.name} is accepted as an amount",
                        golden=sample.golden,
                        expected="CallbackRefused, AMOUNT_INVALID",
                        got=got,
                        fix=r"Match the whole text with (0|[1-9][0-9]*)(\.[0-9]{1,18})? and refuse what does not match,"
                        " before you make a Decimal of it.",
                    )


def _without_money(place: _Place) -> Iterator[tuple[str, HttpRequest]]:
    """The request with no money in the place of an amount, in JSON both as a string and as a bare literal."""
    for text in NO_MONEY:
        yield text, place.put(text)
    if place.path[0] == "json":
        # JSON allows space around a number.
        literals = (text for text in NO_MONEY if text and text == text.strip() and text not in _EXPONENTS)
        for value in (*map(wire.Literal, literals), *_NO_SCALAR):
            yield value.text, place.put(value)


def json_numbers_may_have_an_exponent(case: Case) -> None:
    """A JSON number with an exponent is the amount that its plain form is: serializers choose the form by size."""
    for sample in _results(case):
        for place in (place for place in sample.carriers(_amounts) if place.path[0] == "json"):
            for text in _EXPONENTS:
                plain = format(Decimal(text), "f")
                got, wanted = (sample.decode(place.put(wire.Literal(written))) for written in (text, plain))
                if isinstance(got, CallbackRefused) or got != wanted:
                    raise case.failure(
                        f"the JSON number {text} in {place.name} is not the amount {plain}",
                        golden=sample.golden,
                        expected=wanted,
                        got=got,
                        fix="Bound the exponent of a JSON number, and check the form of format(Decimal(number), 'f').",
                    )


def byte_order_mark_is_skipped(case: Case) -> None:
    """A byte order mark before a JSON callback changes nothing: some serializers write it."""
    for sample in _notifications(case):
        request = sample.golden.request
        if wire.is_json(request.body):
            got = sample.decode(replace(request, body=BOM_UTF8 + request.body))
            if got != sample.notification:
                raise case.failure(
                    "a byte order mark before the body changes the notification",
                    golden=sample.golden,
                    expected=sample.notification,
                    got=got,
                    fix='Decode the body as "utf-8-sig".',
                )


# --- References -------------------------------------------------------------------------------------------------------

_INVISIBLE = ("\u200b", "\u200f", "\u2060", "\ufeff", "\u00ad", "\u202e", "\u2028", "\u3164", "\ufe0f", "\U000e0041")


def references_are_visible(case: Case) -> None:
    """A reference with a blank at either end, or with an invisible character, is refused: it looks like another one."""
    for sample in _results(case):
        for read in (_reference, _promo_reference):
            for place in sample.carriers(read):
                for text in _with_invisible(place.text or ""):
                    got = sample.decode(place.spelling(text))
                    if not isinstance(got, CallbackRefused):
                        raise case.failure(
                            f"{text!a} in {place.name} is accepted as a reference",
                            golden=sample.golden,
                            expected="CallbackRefused, FIELD_MALFORMED",
                            got=got,
                            fix="Refuse a reference for which adapters.contract.is_reference is false.",
                        )


def _promo_reference(result: Result) -> str:
    return result.promo.reference if result.promo else ""


def _with_invisible(text: str) -> Iterator[str]:
    yield from (f" {text}", f"{text} ", f"\u00a0{text}", f"{text}\u3000")
    for character in _INVISIBLE:
        yield from (character + text, text[:1] + character + text[1:], text + character)


# --- Missing fields ---------------------------------------------------------------------------------------------------


def required_callback_fields_are_enforced(case: Case) -> None:
    """A callback without a field that its document requires is refused, unless a golden shows it without the field.

    A Result needs every required field. A SessionExpired needs those that its notification carries: one with fewer
    fields is accepted, and not lost. `decode` must require what the notification carries; `verify` may require the
    rest.
    """
    for sample in _notifications(case):
        carriers = {place.name.lower() for place in sample.carriers(_itself)}
        for name in sorted(_required_names(case, sample.golden.operation)):
            request = wire.without(sample.golden.request, name)
            got = sample.decode(request)
            if isinstance(got, CallbackRefused):
                continue
            if name.lower() in carriers or (isinstance(sample.notification, Result) and sample.is_accepted(request)):
                raise case.failure(
                    f"{sample.golden.operation} without {name} is accepted, though the document requires it",
                    golden=sample.golden,
                    expected=f"CallbackRefused, FIELD_MISSING naming {name}",
                    got=got,
                    fix="Refuse it; or correct the simulator's `required`; or add a golden, from the document, of a"
                    " callback without the field.",
                )


def _required_names(case: Case, operation: str) -> set[str]:
    """The names that the document requires of a callback and every golden notification has."""
    names = {name.lower(): name for name in case.simulator.required.get(operation, ())}
    found = [
        wire.names_of(sample.golden.request) for sample in _notifications(case) if sample.golden.operation == operation
    ]
    return {name for lower, name in names.items() if all(lower in present for present in found)}


def refusals_keep_the_reference(case: Case) -> None:
    """A Result that is refused for an amount or a missing field keeps its reference, for the reconciliation item."""
    for sample in _results(case):
        for what, request in _incomplete(sample):
            got = sample.decode(request)
            if not isinstance(got, CallbackRefused) or got.fault is CallbackFault.CREDENTIALS_WRONG:
                continue
            if got.readable.reference != sample.notification.reference:
                raise case.failure(
                    f"a Result refused {what} loses its reference, so no reconciliation item is made",
                    golden=sample.golden,
                    expected=f"readable.reference {sample.notification.reference!r}",
                    got=got,
                    fix="Give CallbackRefused a PartialCallback with every readable value, whatever the fault.",
                )


def _incomplete(sample: _Sample[Result]) -> Iterator[tuple[str, HttpRequest]]:
    """The request with an invalid amount, and without each value in turn except its reference."""
    for place in sample.carriers(_amounts):
        for text in ("-1", "1.5e1"):
            yield f"over {place.name}", place.spelling(text)
    kept = [place.path for place in sample.carriers(_reference)]
    for place in places(sample.golden.request) if kept else ():
        if not any(path[: len(place.path)] == place.path for path in kept):
            yield f"without {place.name}", place.put()


# --- Duplicate fields -------------------------------------------------------------------------------------------------


def duplicate_fields_are_refused(case: Case) -> None:
    """A member or field that occurs twice with two values is refused: another parser would use the other value."""
    for sample in _notifications(case):
        for place in _single_values(sample):
            for values in ((place.value, place.another), (place.another, place.value)):
                got = sample.decode(place.put(*values))
                if not isinstance(got, CallbackRefused):
                    raise case.failure(
                        f"{place.name} occurs twice, and one of its values is accepted",
                        golden=sample.golden,
                        expected="CallbackRefused, UNREADABLE",
                        got=got,
                        fix="Read names and values as pairs and refuse a name that occurs twice: most parsers keep the"
                        " last one.",
                    )


def _single_values(sample: _Sample[Notification]) -> Iterator[_Place]:
    """The values that the golden has once: all of the body, and the query parameters that the notification carries."""
    carriers = {place.path for place in sample.carriers(_itself)}
    found = list(places(sample.golden.request))
    counts = Counter(place.path for place in found)
    for place in found:
        matters = place.path[0] in {"form", "json"} or (place.path[0] == "query" and place.path in carriers)
        if matters and counts[place.path] == 1 and place.another is not None:
            yield place


CHECKS = (
    amounts_are_parsed_strictly,
    json_numbers_may_have_an_exponent,
    byte_order_mark_is_skipped,
    references_are_visible,
    required_callback_fields_are_enforced,
    refusals_keep_the_reference,
    duplicate_fields_are_refused,
)
