"""The configured providers are replaced in one step."""

from collections.abc import Mapping
from typing import cast

from gateway.sessions.provider import Provider, Providers


def provider() -> Provider:
    """A provider whose parts are not used."""
    return cast("Provider", object())


def test_providers_are_replaced_in_one_step() -> None:
    """A listener sees the new providers and receives those before."""
    one, other = provider(), provider()
    providers = Providers({"one": one})
    seen: list[tuple[Mapping[str, Provider], dict[str, Provider]]] = []
    providers.listeners.append(lambda before: seen.append((before, dict(providers))))
    providers.replace({"other": other})
    assert seen == [({"one": one}, {"other": other})]
    assert (dict(providers), len(providers), "one" in providers) == ({"other": other}, 1, False)


def test_later_changes_of_the_given_mapping_have_no_effect() -> None:
    """The providers are copied when they are given."""
    given = {"one": provider()}
    providers = Providers(given)
    given.clear()
    assert list(providers) == ["one"]
    given["two"] = provider()
    providers.replace(given)
    given.clear()
    assert list(providers) == ["two"]
