"""Finds the secrets in settings."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

import msgspec

from adapters.contract import Secret


def secrets_in(value: object) -> Iterator[Secret]:
    """Every Secret in a value: in structs, dataclasses, mappings, lists and sets, at any depth."""
    match value:
        case Secret():
            yield value
        case msgspec.Struct():
            yield from secrets_in([getattr(value, name) for name in value.__struct_fields__])
        case Mapping():
            yield from secrets_in([*value.keys(), *value.values()])
        case list() | tuple() | set() | frozenset():
            for item in value:
                yield from secrets_in(item)
        case _ if is_dataclass(value):
            yield from secrets_in([getattr(value, field.name) for field in fields(value)])
