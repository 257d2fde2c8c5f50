"""Access to one gRPC server: identifies and authorizes each call, and ends streams whose caller loses its access."""

import asyncio
import math
import time
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Any

from gateway.rpc.caller import bound_providers, caller
from gateway.rpc.callers import Callers, CallerUnknown, Credentials, require_method, require_request
from gateway.rpc.deadline import Context
from gateway.rpc.roles import MethodRule
from gateway.sessions.errors import GatewayError


class Access:
    """Without callers everyone may call everything."""

    def __init__(self, callers: Callers | None = None) -> None:
        self._callers = callers
        self._streams: set[AuthorizedStream] = set()

    def replace(self, callers: Callers | None) -> None:
        """Apply these callers from now on. Open streams that they do not allow end."""
        self._callers = callers
        for stream in tuple(self._streams):
            stream.check_again()

    def admit(self, rule: MethodRule, context: Context) -> float:
        """Identify the caller of a call, for the rest of the task, before its request is decoded.

        Returns when its identity expires, in seconds since the epoch. Raises CallerUnknown, and GatewayError
        CALLER_NOT_ALLOWED.
        """
        return math.inf if self._callers is None else self._admit(rule, self._callers, Credentials(context))

    @staticmethod
    def _admit(rule: MethodRule, callers: Callers, credentials: Credentials) -> float:
        identity = callers.identify(credentials)
        caller.set(identity.caller.name)
        bound_providers.set(identity.caller.providers)
        require_method(identity.caller, rule)
        return identity.expires_at

    def stream(self, rule: MethodRule, request: Any, context: Context, expires_at: float) -> "AuthorizedStream":
        """Around a stream whose caller was admitted."""
        credentials = Credentials(context).read()

        def check() -> float:
            if self._callers is None:
                return math.inf
            until = self._admit(rule, self._callers, credentials)
            require_request(rule, request)
            return until

        return AuthorizedStream(self._streams, check, expires_at)


class AuthorizedStream:
    """Around a stream: raises CallerUnknown or CALLER_NOT_ALLOWED in it as soon as its caller loses its access."""

    def __init__(self, streams: "set[AuthorizedStream]", check: Callable[[], float], expires_at: float) -> None:
        self._streams = streams
        self._check = check
        self._scope = asyncio.timeout(_seconds_until(expires_at))
        self._refusal: GatewayError | None = None

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()
        self._streams.add(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._streams.discard(self)
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:  # of the scope: one that the stream itself raised is `error`
            raise self._refusal or CallerUnknown("an identity that has expired") from None

    def check_again(self) -> None:
        """Identify and authorize the caller again, by what it presented at the start."""
        if self._scope.expired():
            return
        try:
            left = _seconds_until(copy_context().run(self._check))
        except GatewayError as refusal:
            self._refusal, left = refusal, 0.0
        self._scope.reschedule(None if left is None else asyncio.get_running_loop().time() + left)


def _seconds_until(expires_at: float) -> float | None:
    return None if math.isinf(expires_at) else max(0.0, expires_at - time.time())
