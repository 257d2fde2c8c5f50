"""The certificates that the configuration names: from when and until when they are valid."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
import structlog
from cryptography import x509

from gateway.config import ClientTls, Problem, Settings, TlsFiles
from gateway.config.problems import dotted

log = structlog.get_logger(__name__)

WARNING_TIME = timedelta(days=30)
"""How long before it expires a certificate is reported."""


@dataclass(frozen=True, slots=True)
class Validity:
    """When the certificate of a file is valid: the first one, or all of an authority's file."""

    path: str
    """Of the key that names the file."""
    not_before: datetime
    not_after: datetime
    """When the first of the counted certificates expires."""
    usable_until: datetime
    """When the last of them does."""
    digest: bytes

    def unusable(self, now: datetime) -> Problem | None:
        """Why no peer accepts it now."""
        if now >= self.usable_until:
            return Problem(self.path, f"expired at {_shown(self.usable_until)}: name a certificate that is valid")
        if now < self.not_before:
            return Problem(self.path, f"is valid from {_shown(self.not_before)} on: name one that is valid, or wait")
        return None

    def expiring(self, now: datetime) -> Problem | None:
        """That it, or one of an authority's file, expires soon or has expired."""
        if self.unusable(now) or now < self.not_after - WARNING_TIME:
            return None
        return Problem(self.path, f"holds a certificate that expires at {_shown(self.not_after)}: replace it before")


def validities(settings: Settings) -> tuple[Validity, ...]:
    """Of all certificate files. A file that cannot be read is left out: `unreadable_files` reports it."""
    found = (_validity(path, name, file) for path, name, file in _certificate_files("", settings))
    return tuple(each for each in found if each is not None)


def unusable(found: Iterable[Validity], now: datetime) -> tuple[Problem, ...]:
    """The certificates that have expired, or are not valid yet."""
    return tuple(problem for each in found if (problem := each.unusable(now)))


def expiring(found: Iterable[Validity], now: datetime) -> tuple[Problem, ...]:
    """The certificates that expire soon."""
    return tuple(problem for each in found if (problem := each.expiring(now)))


def log_validities(found: Iterable[Validity], now: datetime) -> None:
    """Log each certificate that is not valid, or expires soon."""
    for each in found:
        if problem := each.unusable(now):
            log.error("certificate is not valid", path=problem.path, error=problem.message)
        elif problem := each.expiring(now):
            log.warning("certificate expires soon", path=problem.path, error=problem.message)


def _certificate_files(path: str, value: object) -> Iterator[tuple[str, str, Path]]:
    """The path, the key's name and the file of each certificate in settings; a private key is none."""
    match value:
        case TlsFiles() | ClientTls():
            for name in value.__struct_fields__:
                file = getattr(value, name)
                if isinstance(file, Path) and name != "key":
                    yield dotted(path, name), name, file
        case msgspec.Struct():
            for name in value.__struct_fields__:
                yield from _certificate_files(dotted(path, name), getattr(value, name))
        case Mapping():
            for name, inner in value.items():
                yield from _certificate_files(dotted(path, name), inner)


def _validity(path: str, name: str, file: Path) -> Validity | None:
    try:
        content = file.read_bytes()
        certificates = x509.load_pem_x509_certificates(content)
    except (OSError, ValueError):
        return None
    counted = certificates if name in {"ca", "client_ca"} else certificates[:1]
    ends = [each.not_valid_after_utc for each in counted]
    begin = min(each.not_valid_before_utc for each in counted)
    return Validity(path, begin, min(ends), max(ends), sha256(content).digest())


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%SZ}"
