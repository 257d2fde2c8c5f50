"""What `check` refuses, and `serve` and a reload accept with a warning, so that existing deployments start."""

import stat
from collections.abc import Iterator
from pathlib import Path

from gateway.config.problems import Problem
from gateway.config.references import ReferencedSecret
from gateway.config.secret_paths import private_keys, secrets_by_path
from gateway.config.settings import Settings

MIN_KEY_LENGTH = 32

_FORBIDDEN = stat.S_IRWXO | stat.S_IWGRP
"""A group may read: Kubernetes gives a secret to the gateway's user by the group of the volume, with mode 0440."""


def insecurities(settings: Settings) -> tuple[Problem, ...]:
    """Callback keys that are too short, and files of secrets or private keys that others can access. Reads modes."""
    return (*_short_keys(settings), *_exposed_files(settings))


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
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return  # it was read a moment ago, and is replaced now
    if mode & _FORBIDDEN:
        yield Problem(
            path,
            f"the file {str(file)!a} has mode {mode:04o}: others can read or write the secret; "
            "give it to the gateway's user with mode 0600, or to its group with 0640 or 0440",
        )
