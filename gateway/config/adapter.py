"""The keys of a provider's table that its adapter defines."""

from collections.abc import Collection
from typing import Any, TypeVar

import msgspec

from adapters.contract import AdapterSettings, Secret, SensitiveFields
from gateway.config.problems import ConfigInvalid, Problem, dotted, unknown_key
from gateway.config.references import ReferencedSecret
from gateway.config.secret_paths import secrets_in
from gateway.config.settings import ProviderSettings
from gateway.masking.mask import Mask

SettingsT = TypeVar("SettingsT", bound=AdapterSettings)

_COMMON_KEYS = frozenset(ProviderSettings.__struct_fields__) - {"name", "extras"}


def adapter_settings(provider: ProviderSettings, kind: type[SettingsT]) -> SettingsT:
    """The provider's extra keys as the settings type of its adapter. Raises ConfigInvalid.

    A field of the type Secret takes a string, `{ env = … }` or `{ file = … }`. No problem shows its value.
    """
    path = f"providers.{provider.name}"
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    problems = [
        Problem(dotted(path, key), unknown_key(key, _COMMON_KEYS | fields.keys()))
        for key in provider.extras
        if key not in fields
    ]
    problems += [
        Problem(dotted(path, key), f"is missing; the adapter {provider.adapter} needs it")
        for key, field in fields.items()
        if field.required and key not in provider.extras
    ]
    if not problems:
        try:
            return _convert(provider, kind)
        except msgspec.ValidationError as error:
            problems.append(_with_path(path, str(error), fields.keys()))
    raise ConfigInvalid(tuple(problems))


def _convert(provider: ProviderSettings, kind: type[SettingsT]) -> SettingsT:
    """Convert the keys. Raises ValidationError, for a bug of the adapter too, with all secrets masked."""
    secrets = [*secrets_in(provider.extras)]

    def decode(kind: type[Any], value: object) -> Secret:
        secrets.append(_secret(kind, value))
        return secrets[-1]

    try:
        return msgspec.convert(dict(provider.extras), kind, dec_hook=decode)
    except msgspec.ValidationError as error:
        message = str(error).replace(ReferencedSecret.__name__, Secret.__name__)
    except Exception as bug:  # noqa: BLE001 - its traceback would show the message, which can hold a secret
        message = f"cannot be read, the adapter {provider.adapter} raised {type(bug).__name__}: {bug}"
    raise msgspec.ValidationError(Mask(SensitiveFields(), secrets).text(message))


def _secret(kind: type[Any], value: object) -> Secret:
    if kind is Secret and isinstance(value, Secret):
        return value
    if kind is Secret and isinstance(value, str) and value:
        return Secret(value)
    raise ValueError('must be a secret, which is a string, { env = "NAME" } or { file = "path" }')


def _with_path(path: str, message: str, fields: Collection[str]) -> Problem:
    """msgspec writes `what is wrong - at `$.key``: the place becomes part of the path.

    An error that a settings type raises itself has no place: its message begins with the key.
    """
    what, _, place = message.partition(" - at `$")
    key, _, rest = what.partition(" ")
    if not place and key in fields:
        return Problem(dotted(path, key), rest)
    return Problem(path + place.removesuffix("`"), what[:1].lower() + what[1:])
