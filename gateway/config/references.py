"""What the configuration refers to: files, relative to its folder, and environment variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adapters.contract import Secret
from gateway.config.problems import InvalidValue, unknown_key
from gateway.config.settings import Listen, UnixSocket
from gateway.config.values import listen, store_url, text, type_name, unix_socket_path

_SOURCES = 'a string, { env = "NAME" } or { file = "path" }'
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")


class ReferencedSecret(Secret):
    """A secret that is not written in the configuration: it comes from `file`, or from the environment."""

    __slots__ = ("file",)

    def __init__(self, value: str, file: Path | None = None) -> None:
        super().__init__(value)
        self.file = file


@dataclass(frozen=True, slots=True)
class ReferenceResolver:
    """The folder of the configuration file, and the environment. Its methods are parsers: they raise InvalidValue."""

    folder: Path
    environ: Mapping[str, str] = field(repr=False)

    def file(self, value: object) -> Path:
        """A readable file; its path is relative to the configuration's folder."""
        path = self.folder / text(value)
        try:
            with path.open("rb"):
                return path
        except (OSError, ValueError) as error:
            raise InvalidValue(_unreadable(path, error)) from None

    def listen(self, value: object) -> Listen | UnixSocket:
        """`host:port`, or `unix:` and a path, which is relative to the configuration's folder."""
        address = text(value)
        if not address.startswith("unix:"):
            return listen(address)
        # gRPC's own forms are unix:path and unix:///path.
        path = self.folder / re.sub(r"^//(?=/)", "", address.removeprefix("unix:"))
        return UnixSocket(unix_socket_path(path))

    def secret(self, value: object) -> Secret:
        """A secret: a string, an environment variable or a file. No message shows it."""
        content = self._content(value)
        if not content:
            raise InvalidValue(f"the secret{_source(value)} is empty")
        if not content.isprintable():
            raise InvalidValue(f"the secret{_source(value)} holds control characters, perhaps a second line break")
        match value:
            case {"file": str(name)}:
                return ReferencedSecret(content, self.folder / name)
            case {"env": _}:
                return ReferencedSecret(content)
            case _:
                return Secret(content)

    def callback_key(self, value: object) -> Secret:
        """A secret that needs no encoding in a URL."""
        secret = self.secret(value)
        if not _UNRESERVED.fullmatch(secret.reveal()):
            raise InvalidValue(
                f"the key{_source(value)} may hold only letters, digits and . _ ~ - since it is part of a URL"
            )
        # Clients resolve such a path segment as a relative path, and drop it.
        if secret.reveal() in {".", ".."}:
            raise InvalidValue("a key of dots alone is dropped from a URL; write a long random one")
        return secret

    def resolved(self, value: object) -> object:
        """An adapter's key, each `{ env = … }` and `{ file = … }` in it as a Secret: an adapter reads neither."""
        match value:
            case {"env": _, **others} | {"file": _, **others} if not others:
                return self.secret(value)
            case dict():
                return {key: self._resolved_at(f".{key}", inner) for key, inner in value.items()}
            case list():
                return [self._resolved_at(f"[{index}]", inner) for index, inner in enumerate(value)]
            case _:
                return value

    def _resolved_at(self, place: str, value: object) -> object:
        try:
            return self.resolved(value)
        except InvalidValue as invalid:
            raise InvalidValue(f"{place}: {invalid}") from None

    def store_url(self, value: object) -> Secret:
        """A store's url. It can hold a password, so it is given like any secret."""
        secret = self.secret(value)
        store_url(secret.reveal())
        return secret

    def _content(self, value: object) -> str:
        match value:
            case str():
                return value
            case {"env": str(name), **others} if not others:
                return self._variable(name)
            case {"file": str(name), **others} if name and not others:
                return self._file_content(self.folder / name)
            case dict():
                unknown = sorted(value.keys() - {"env", "file"})
                # Only the key is shown: its value can be the secret itself.
                hint = f"{unknown[0]!a}: {unknown_key(unknown[0], ('env', 'file'))}; " if unknown else ""
                raise InvalidValue(f"{hint}a secret is {_SOURCES}")
            case _:
                raise InvalidValue(f"must be a secret, which is {_SOURCES}, not {type_name(value)}")

    def _variable(self, name: str) -> str:
        if name not in self.environ:
            raise InvalidValue(f"the environment variable {name!a} is not set; set it before the gateway starts")
        return self.environ[name]

    def _file_content(self, path: Path) -> str:
        try:
            content = path.read_bytes().decode()
        except UnicodeDecodeError:
            raise InvalidValue(f"the file {str(path)!a} is not UTF-8 text") from None
        except (OSError, ValueError) as error:
            raise InvalidValue(_unreadable(path, error)) from None
        return content.removesuffix("\n").removesuffix("\r")


def _source(value: object) -> str:
    match value:
        case {"env": str(name)}:
            return f" in the environment variable {name!a}"
        case {"file": str(name)}:
            return f" in the file {name!a}"
        case _:
            return ""


def _unreadable(path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else "not a path"
    return f"the file {str(path)!a} cannot be read: {reason}; the path is relative to the configuration's folder"
