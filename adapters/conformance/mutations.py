"""Checks: a callback that says a little less, more or other than its document allows is refused, never guessed at.

Where a value travels is found out by changing it: what changes the notification, carries it. Only `decode` is judged
on what carries a notification, since a signature refuses any change, and a good signature proves no form.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from adapters.conformance import wire
from adapters.conformance.case import Subject
from adapters.conformance.goldens import received
from adapters.conformance.substitutions import Place, places
from adapters.contract import Callback, CallbackFault, CallbackRefused, HttpRequest, Notification, Result
from adapters.golden import CallbackGolden, FaultExpected

_Place = Place[HttpRequest]

NotificationT = TypeVar("NotificationT", bound=Notification)


@dataclass(frozen=True, slots=True)
class _Understood(Generic[NotificationT]):
    """A golden callback that is a notification."""

    callback: Callback[Any, Notification]
    golden: CallbackGolden
    notification: NotificationT

    def decoded(self, request: HttpRequest) -> Notification | CallbackRefused:
        """What decode makes of another request."""
        try:
            return self.callback.decode(self.golden.account, request)
        except CallbackRefused as refused:
            return refused

    def is_taken(self, request: HttpRequest) -> bool:
        """Whether both verify and decode let another request pass."""
        try:
            received(self.callback, self.golden.account, request)
        except CallbackRefused:
            return False
        return True

    def carriers(self, read: Callable[[Any], object]) -> tuple[_Place, ...]:
        """The places that carry what `read` reads of the notification: it changes with them."""
        return tuple(place for place in places(self.golden.request) if self._carries(place, read))

    def _carries(self, place: _Place, read: Callable[[Any], object]) -> bool:
        if place.another is None:
            return False
        got = self.decoded(place.put(place.another))
        return not isinstance(got, CallbackRefused) and read(got) != read(self.notification)


def _notifications(subject: Subject) -> Iterator[_Understood[Notification]]:
    for callback, golden in subject.told:
        if not isinstance(golden.expect, FaultExpected):
            yield _Understood(callback, golden, golden.expect)


def _results(subject: Subject) -> Iterator[_Understood[Result]]:
    for callback, golden in subject.told:
        if isinstance(golden.expect, Result):
            yield _Understood(callback, golden, golden.expect)


def _whole(notification: Notification) -> Notification:
    return notification


def _amounts(result: Result) -> object:
    return result.amount, result.promo and result.promo.amount


def _reference(result: Result) -> str:
    return result.reference


# --- Money ------------------------------------------------------------------------------------------------------------

NO_MONEY = (
    *("1.5e1", "1E1", "1e-2", "1E+2", "01", "00", "1_0", "\u0661", "\uff11", " 5 ", "5 ", "\t5", "5\n", "+1", "-1"),
    *("-0", "-0.0", "NaN", "sNaN", "Infinity", "1.", ".5", "0x10", "1,5", "1 000", "1/2", "", "9" * 33),
    *(f"0.{'1' * 19}", "\u20ac5"),
)
"""Texts that some reader of numbers takes, and that are not plain money."""

_NO_SCALAR = tuple(wire.Literal(text) for text in ("null", "true", "[]", "[10]", "{}"))


def amounts_are_read_strictly(subject: Subject) -> None:
    """A sign, an exponent, a leading zero, foreign digits, space, or too many digits: no such amount is read."""
    for case in _results(subject):
        for place in case.carriers(_amounts):
            for what, request in _without_money(place):
                got = case.decoded(request)
                if not isinstance(got, CallbackRefused):
                    raise subject.failure(
                        f"{place.name} spelt {what[:40]!r} is read as an amount",
                        golden=case.golden,
                        expected="CallbackRefused, AMOUNT_INVALID",
                        got=got,
                        mend=r"Match the text as it came with (0|[1-9][0-9]*)(\.[0-9]{1,18})?, in full, and refuse "
                        "what does not match; only then make a Decimal of it.",
                    )


def _without_money(place: _Place) -> Iterator[tuple[str, HttpRequest]]:
    """The request with what is no money in the place of an amount; in JSON both as a text and as it stands."""
    for text in NO_MONEY:
        yield text, place.put(text)
    if place.path[0] == "json":
        literals = (text for text in NO_MONEY if text and text == text.strip())  # space around a number is JSON's own
        for value in (*map(wire.Literal, literals), *_NO_SCALAR):
            yield value.text, place.put(value)


# --- What is missing --------------------------------------------------------------------------------------------------


def what_is_required_is_asked_for(subject: Subject) -> None:
    """A callback without what its document requires is refused, not completed; unless a golden shows it without.

    Of a Result that is everything; of a SessionExpired what it tells, for it is better heard with less than not at all.
    What carries the notification `decode` asks for; the rest, a signature say, may be asked for by `verify`.
    """
    for case in _notifications(subject):
        carriers = {place.name.lower() for place in case.carriers(_whole)}
        for name in sorted(_demanded(subject, case.golden.operation)):
            request = wire.without(case.golden.request, name)
            got = case.decoded(request)
            if isinstance(got, CallbackRefused):
                continue
            if name.lower() in carriers or (isinstance(case.notification, Result) and case.is_taken(request)):
                raise subject.failure(
                    f"{case.golden.operation} without {name} is taken, though the document requires it",
                    golden=case.golden,
                    expected=f"CallbackRefused, FIELD_MISSING naming {name}",
                    got=got,
                    mend="Refuse it; or mend the simulator's `required`; or show in a golden, from the document, that"
                    " the provider does without.",
                )


def _demanded(subject: Subject, operation: str) -> set[str]:
    """The names that the document requires of a callback and every golden notification has."""
    names = {name.lower(): name for name in subject.simulator.required.get(operation, ())}
    shown = [
        wire.names_of(case.golden.request) for case in _notifications(subject) if case.golden.operation == operation
    ]
    return {name for lower, name in names.items() if all(lower in there for there in shown)}


def refusals_keep_the_reference(subject: Subject) -> None:
    """A Result refused over an amount or a missing field keeps its reference, without which nobody can look into it."""
    for case in _results(subject):
        for what, request in _spoilt(case):
            got = case.decoded(request)
            if not isinstance(got, CallbackRefused) or got.fault is CallbackFault.CREDENTIALS_WRONG:
                continue
            if got.readable.reference != case.notification.reference:
                raise subject.failure(
                    f"a Result refused {what} has lost its reference, so that no reconciliation item is made",
                    golden=case.golden,
                    expected=f"readable.reference {case.notification.reference!r}",
                    got=got,
                    mend="Give CallbackRefused a Readable with all that can be read, whatever the fault.",
                )


def _spoilt(case: _Understood[Result]) -> Iterator[tuple[str, HttpRequest]]:
    """The request with a bad amount, and with everything left out in turn that is not its reference."""
    for place in case.carriers(_amounts):
        for text in ("-1", "1.5e1"):
            yield f"over {place.name}", place.spelling(text)
    kept = [place.path for place in case.carriers(_reference)]
    for place in places(case.golden.request) if kept else ():
        if not any(path[: len(place.path)] == place.path for path in kept):
            yield f"without {place.name}", place.put()


# --- What is there twice ----------------------------------------------------------------------------------------------


def what_comes_twice_is_refused(subject: Subject) -> None:
    """A member or field that comes twice with two values is refused: another reader would take the other one."""
    for case in _notifications(subject):
        for place in _single(case):
            for values in ((place.value, place.another), (place.another, place.value)):
                got = case.decoded(place.put(*values))
                if not isinstance(got, CallbackRefused):
                    raise subject.failure(
                        f"{place.name} comes twice, and one of its values is taken",
                        golden=case.golden,
                        expected="CallbackRefused, UNREADABLE",
                        got=got,
                        mend="Read names and values in pairs and refuse a name that occurs twice: most parsers keep the"
                        " last in silence.",
                    )


def _single(case: _Understood[Notification]) -> Iterator[_Place]:
    """Every value of the body, and every parameter of the query that matters, that the golden gives once."""
    carriers = {place.path for place in case.carriers(_whole)}
    found = list(places(case.golden.request))
    times = Counter(place.path for place in found)
    for place in found:
        matters = place.path[0] in {"form", "json"} or (place.path[0] == "query" and place.path in carriers)
        if matters and times[place.path] == 1 and place.another is not None:
            yield place


CHECKS = (
    amounts_are_read_strictly,
    what_is_required_is_asked_for,
    refusals_keep_the_reference,
    what_comes_twice_is_refused,
)
