"""What `check` refuses, and `serve` and a reload accept with a warning, so that existing deployments start."""

import stat
from collections.abc import Iterator
from pathlib import Path

from gateway.config.problems import Problem
from gateway.config.references import ReferencedSecret
from gateway.config.secret_paths import private_keys, secrets_by_path, trusted_files
from gateway.config.settings import Settings

MIN_KEY_LENGTH = 32


_ACCESS = stat.S_IRWXO | stat.S_IWGRP
"""Of a secret. A group may read: Kubernetes gives it to the gateway's user by the group of the volume, mode 0440."""


def insecurities(settings: Settings, config: Path | None = None) -> tuple[Problem, ...]:
    """What is insecure in the settings, and in the modes of the files that they name and of `config`, their own file.

    These are callback keys that are too short, files of secrets or private keys that others can access, and files that
    say whom to trust and that others can write.
    """
    trusted = (*trusted_files(settings), *((("", config),) if config else ()))
    return (
        *_short_keys(settings),
        *_exposed_files(settings),
        *(problem for path, file in trusted for problem in _writable(path, file)),
    )


def _short_keys(settings: Settings) -> Iterator[Problem]:
    for provider in settings.providers.values():
        for index, key in enumerate(provider.callback_keys):
            if len(key.reveal()) < MIN_KEY_LENGTH:
                yield Problem(
                    f"providers.{provider.name}.callback_keys[{index}]",
                    f"is shorter than {MIN_KEY_LENGTH} characters, and it protects money; write a long random one, "
                    "for example of `openssl rand -hex 32`",
                )


def _exposed_files(settings: Settings) -> Iterator[Problem]:
    for path, secret in secrets_by_path(settings):
        if isinstance(secret, ReferencedSecret) and secret.file:
            yield from _exposed(path, secret.file)
    for path, file in private_keys(settings):
        yield from _exposed(path, file)


def _exposed(path: str, file: Path) -> Iterator[Problem]:
    if (mode := _mode(file)) & _ACCESS:
        yield Problem(
            path,
            f"the file {str(file)!a} has mode {mode:04o}: others can read or write the secret; "
            "give it to the gateway's user with mode 0600, or to its group with 0640 or 0440",
        )


def _writable(path: str, file: Path) -> Iterator[Problem]:
    if (mode := _mode(file)) & stat.S_IWOTH:  # a group may: with the umask of many systems it is the user's own
        yield Problem(
            path,
            f"the file {str(file)!a} has mode {mode:04o}: others can write it, and so decide whom the gateway trusts; "
            "give it mode 0644 or 0600",
        )


def _mode(file: Path) -> int:
    try:
        return stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return 0  # it was read a moment ago, and is replaced now
