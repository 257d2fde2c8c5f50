"""The providers that are served change in one step, and everybody who looks sees the same ones."""

from collections.abc import Mapping
from typing import cast

from gateway.sessions.provider import Provider
from gateway.sessions.providers import Providers


def made() -> Provider:
    """One that nobody looks into here."""
    return cast("Provider", object())


def test_they_are_replaced_in_one_step() -> None:
    """Who is asked about them within a listener finds the new ones, and is told of those before."""
    one, other = made(), made()
    given = {"one": one}
    providers = Providers(given)
    seen: list[tuple[Mapping[str, Provider], dict[str, Provider]]] = []
    providers.listeners.append(lambda before: seen.append((before, dict(providers))))
    providers.replace({"other": other})
    assert seen == [({"one": one}, {"other": other})]
    assert (dict(providers), len(providers), "one" in providers) == ({"other": other}, 1, False)


def test_what_they_were_made_of_may_change() -> None:
    """They are those that were given, whatever becomes of the mapping."""
    given = {"one": made()}
    providers = Providers(given)
    given.clear()
    assert list(providers) == ["one"]
    given["two"] = made()
    providers.replace(given)
    given.clear()
    assert list(providers) == ["two"]
