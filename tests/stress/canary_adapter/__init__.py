"""An adapter with secret settings at every depth, which it sends in many forms, and which breaks where it is asked to.

The canary test copies it to `adapters/canary`.
"""

from base64 import b64encode
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec

from adapters import luckymonaco
from adapters.contract import Account, Attempt, Closed, CloseSession, HttpReply, HttpRequest, Secret
from adapters.luckymonaco_common.settings import FamilySettings

BREAK_IN_ENCODE = "break-encode"
BREAK_IN_DECODE = "break-decode"
"""Users whose close makes the adapter raise an unexpected error that quotes its secrets."""


class Signer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of several keys."""

    name: str
    secret: Secret


class CanarySettings(FamilySettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`refused` makes the settings invalid, with a message that quotes a secret."""

    signing: Secret
    signers: tuple[Signer, ...]
    refused: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.refused:
            raise ValueError(f"signing is {self.signing.reveal()!r}, which is refused")


_FAMILY: Any = luckymonaco.ADAPTER.close_session


def _secrets(account: Account[CanarySettings]) -> list[str]:
    settings = account.settings
    return [settings.signing.reveal(), *(signer.secret.reveal() for signer in settings.signers)]


def _encode(account: Account[CanarySettings], call: CloseSession, attempt: Attempt) -> HttpRequest:
    secrets = _secrets(account)
    if call.user_id == BREAK_IN_ENCODE:
        raise RuntimeError(f"cannot sign with {secrets}, {call.token and call.token.reveal()}")
    request: HttpRequest = _FAMILY.encode(account, call, attempt)
    joined = "".join(secrets).encode()
    return replace(
        request,
        query=(("key", secrets[0]), ("keys", ",".join(secrets))),
        headers=(
            *request.headers,
            ("Authorization", f"Bearer {quote(secrets[0])}"),
            ("X-Seal", b64encode(joined).decode()),
            ("X-Keys", quote(", ".join(secrets))),
        ),
    )


def _decode(account: Account[CanarySettings], reply: HttpReply) -> Closed:
    if BREAK_IN_DECODE.encode() in reply.body:
        raise RuntimeError(f"cannot verify {reply.body.decode()} with {_secrets(account)}")
    closed: Closed = _FAMILY.decode(account, reply)
    return closed


ADAPTER = replace(
    luckymonaco.ADAPTER,
    name="canary",
    settings=CanarySettings,
    close_session=replace(_FAMILY, encode=_encode, decode=_decode),
)
