"""Finds the secrets, the private keys and the trusted files in settings, with the paths of their keys."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

import msgspec

from adapters.contract import Secret
from gateway.config.problems import dotted


def secrets_in(value: object) -> Iterator[Secret]:
    """Every Secret in a value: in structs, dataclasses, mappings, lists and sets, at any depth."""
    return (secret for _, secret in secrets_by_path(value))


def secrets_by_path(value: object, path: str = "") -> Iterator[tuple[str, Secret]]:
    """Every Secret in a value, with the path of its key; `path` is that of the value."""
    return ((place, leaf) for place, leaf in _leaves(value, path) if isinstance(leaf, Secret))


def private_keys(value: object) -> Iterator[tuple[str, Path]]:
    """The file of every `tls.key` in settings, with the path of its key."""
    return ((place, leaf) for place, leaf in _leaves(value, "") if isinstance(leaf, Path) and place.endswith("tls.key"))


def trusted_files(value: object) -> Iterator[tuple[str, Path]]:
    """The files in settings that say whom to trust: authorities and public keys, with the paths of their keys."""
    trusted = ("tls.ca", "tls.client_ca", "jwt.jwks_file")
    return ((place, leaf) for place, leaf in _leaves(value, "") if isinstance(leaf, Path) and place.endswith(trusted))


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    match value:
        case msgspec.Struct():
            for name in value.__struct_fields__:
                # An adapter's keys are keys of the provider's table.
                yield from _leaves(getattr(value, name), path if name == "extras" else dotted(path, name))
        case Mapping():
            for key, inner in value.items():
                yield from _leaves(key, path)
                yield from _leaves(inner, dotted(path, str(key)))
        case list() | tuple() | set() | frozenset():
            for index, inner in enumerate(value):
                yield from _leaves(inner, f"{path}[{index}]")
        case _ if is_dataclass(value):
            for field in fields(value):
                yield from _leaves(getattr(value, field.name), dotted(path, field.name))
        case _:
            yield path, value
