"""Broken closes."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

from adapters.contract import (
    Account,
    Attempt,
    Closed,
    CloseSession,
    FieldInvalid,
    HttpReply,
    HttpRequest,
    Outcome,
    ProviderAnswer,
    ProviderRefused,
    RefusalKind,
    Secret,
    Unsupported,
)
from tests.adapters.broken import GOOD, Broken, with_call, without_goldens
from tests.adapters.example import FORM, OUTCOMES, Settings, decode, encode, read_form

_Account = Account[Settings]


def _wrong_path(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    return replace(encode(account, call, attempt), path="/seats/clean")


def _forgets_a_field(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    request = encode(account, call, attempt)
    return replace(request, body=request.body.replace(f"&call={attempt.uuid}".encode(), b""))


def _has_a_clock(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    return encode(account, call, replace(attempt, number=int(time.time())))


def _has_the_date(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    return encode(account, call, replace(attempt, now=datetime.now(UTC)))


def _has_randomness(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    return encode(account, call, replace(attempt, number=random.randint(1, 9)))  # noqa: S311, that is what is broken


_COUNT = count()


def _counts(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    return replace(encode(account, call, attempt), query=(("v", "2"), ("n", str(next(_COUNT)))))


def _ignores_the_game(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    return encode(account, replace(call, game_id=""), attempt)


def _ignores_clear_history(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    return encode(account, replace(call, clear_history=False), attempt)


def _ignores_the_session(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    return encode(account, replace(call, session_id=""), attempt)


def _asks_for_a_game(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    if not call.game_id:
        raise FieldInvalid("game_id", "The Parlour clears one game at a time.")
    return encode(account, call, attempt)


def _prefers_the_configured_token(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    return encode(account, replace(call, token=account.token or call.token), attempt)


def _takes_any_token(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    request = encode(account, replace(call, token=Secret("x")), attempt)
    token = call.token or account.token
    return replace(request, headers=(request.headers[0], ("X-Desk", token.reveal() if token else "")))


def _escapes_nothing(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    request = encode(account, replace(call, user_id="PLAYER"), attempt)
    player = call.user_id.replace(" ", "+").replace("é", "%C3%A9").encode()
    return replace(request, body=request.body.replace(b"PLAYER", player))


def _writes_latin(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    call.user_id.encode("latin-1")
    return encode(account, call, attempt)


def _sends_no_token(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    return replace(encode(account, call, attempt), headers=(("Content-Type", FORM),))


def _shows_the_token(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    if call.session_id:
        token = account.token.reveal() if account.token else ""
        raise Unsupported("session_id", f"The desk {token} clears by player and game, not by session.")
    return encode(account, call, attempt)


def _names_no_field(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    if call.session_id:
        raise Unsupported("session", "The Parlour clears by player and game, not by session.")
    return encode(account, call, attempt)


def _takes_anything(account: _Account, reply: HttpReply) -> Closed:
    try:
        return decode(account, reply)
    except ProviderRefused as refused:
        if refused.kind is not RefusalKind.MALFORMED or reply.status != 200:
            raise
        return Closed(Outcome.CLOSED, refused.answer)


def _trusts_the_form(account: _Account, reply: HttpReply) -> Closed:
    try:
        return decode(account, reply)
    except ProviderRefused as refused:
        if refused.kind is not RefusalKind.MALFORMED or reply.status != 200:
            raise
        code = dict(pair.split("=") for pair in reply.body.decode().split("&"))["said"]
        return Closed(OUTCOMES[code], ProviderAnswer(code, "", 200))


def _reads_error_pages(account: _Account, reply: HttpReply) -> Closed:
    if reply.body.startswith(b"said=cleared"):
        return Closed(Outcome.CLOSED, ProviderAnswer("cleared", "", reply.status))
    return decode(account, reply)


def _loses_the_words(account: _Account, reply: HttpReply) -> Closed:
    closed = decode(account, reply)
    return replace(closed, answer=replace(closed.answer, description=""))


def _forgets_the_status(account: _Account, reply: HttpReply) -> Closed:
    closed = decode(account, reply)
    return replace(closed, answer=replace(closed.answer, http_status=0))


def _refuses_the_empty(account: _Account, reply: HttpReply) -> Closed:
    closed = decode(account, reply)
    if closed.outcome is Outcome.NO_ACTIVE_SESSION:
        raise ProviderRefused(RefusalKind.REFUSED, closed.answer, "No seat was taken.")
    return closed


def _returns_an_echo(account: _Account, reply: HttpReply) -> Closed:
    closed = decode(account, reply)
    return replace(closed, answer=replace(closed.answer, description=read_form(reply.body)["words"]))


def _forgets_with_a_game(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    return encode(account, replace(call, clear_history=call.clear_history or bool(call.game_id)), attempt)


def _is_only_sure_when_asked(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    request = _forgets_with_a_game(account, call, attempt)
    return replace(request, body=request.body + b"&sure=1") if call.clear_history else request


_FIRST: dict[CloseSession, str] = {}


def _keeps_the_first_uuid(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
    return encode(account, call, replace(attempt, uuid=_FIRST.setdefault(call, attempt.uuid)))


def _normalizes_the_player(normalize: Callable[[str], str]) -> Callable[[_Account, CloseSession, Attempt], HttpRequest]:
    """Sends a normalized player id."""

    def normalized(account: _Account, call: CloseSession, attempt: Attempt) -> HttpRequest:
        return encode(account, replace(call, user_id=normalize(call.user_id)), attempt)

    return normalized


def _accepts_statuses(*statuses: int, empty: bool) -> Callable[[_Account, HttpReply], Closed]:
    """Decodes these statuses as a success, with an empty body or with any other."""

    def accept(account: _Account, reply: HttpReply) -> Closed:
        if reply.status in statuses and empty is not bool(reply.body.strip()):
            return Closed(Outcome.CLOSED, ProviderAnswer(str(reply.status), "", reply.status))
        return decode(account, reply)

    return accept


def _trusts_the_unlisted(account: _Account, reply: HttpReply) -> Closed:
    try:
        return decode(account, reply)
    except ProviderRefused as refused:
        if refused.kind is not RefusalKind.REFUSED_UNLISTED:
            raise
        return Closed(Outcome.CLOSED, refused.answer)


BROKEN = (
    Broken("wrong_path", with_call(encode=_wrong_path), "requests_are_exact", "another path"),
    Broken("forgets_a_field", with_call(encode=_forgets_a_field), "requests_are_exact", "another body"),
    Broken(
        "forgets_what_is_required", with_call(encode=_forgets_a_field), "simulator_enforces_required_fields", "call"
    ),
    Broken("has_a_clock", with_call(encode=_has_a_clock), "functions_depend_on_arguments_only", "time.time"),
    Broken("has_the_date", with_call(encode=_has_the_date), "functions_depend_on_arguments_only", "now"),
    Broken("has_randomness", with_call(encode=_has_randomness), "functions_depend_on_arguments_only", "random."),
    Broken("counts", with_call(encode=_counts), "functions_depend_on_arguments_only", "the second time"),
    Broken(
        "imports_a_logger",
        replace(GOOD, sources={**GOOD.sources, "example.log": "import logging\n"}),
        "sources_are_pure",
        "example.log imports logging",
    ),
    Broken(
        "accepts_a_game_and_ignores_it",
        without_goldens(with_call(encode=_ignores_the_game), "closed_one_game.toml"),
        "capabilities_are_true",
        "game_id changes nothing",
    ),
    Broken(
        "ignores_clear_history",
        without_goldens(
            with_call(encode=_ignores_clear_history, optional_fields=frozenset({"game_id"})), "closed_one_game.toml"
        ),
        "capabilities_are_true",
        "with clear_history is not refused",
    ),
    Broken(
        "ignores_the_session",
        with_call(encode=_ignores_the_session),
        "unsent_calls_are_refused",
        "Unsupported naming session_id",
    ),
    Broken(
        "needs_a_game_and_does_not_ask",
        with_call(required_fields=frozenset({"token", "game_id"}), ends_all_sessions=False),
        "required_fields_are_enforced",
        "without game_id is not refused",
    ),
    Broken(
        "ends_all_and_needs_a_game",
        with_call(encode=_asks_for_a_game, required_fields=frozenset({"game_id"}), optional_fields=frozenset()),
        "required_fields_are_enforced",
        "ends_all_sessions is True",
    ),
    Broken(
        "prefers_the_configured_token",
        with_call(encode=_prefers_the_configured_token),
        "caller_token_overrides_account_token",
        "replaces the caller's",
    ),
    Broken("takes_any_token", with_call(encode=_takes_any_token), "any_call_is_encoded_or_refused", "header X-Desk"),
    Broken(
        "forgets_with_a_game",
        without_goldens(with_call(encode=_forgets_with_a_game), "closed_one_game.toml"),
        "fields_are_encoded_independently",
        "clear_history changes nothing in a request that has game_id",
    ),
    Broken(
        "is_only_sure_when_asked",
        without_goldens(with_call(encode=_is_only_sure_when_asked), "closed_one_game.toml"),
        "fields_are_encoded_independently",
        "game_id alone adds ['forget'], as clear_history does",
    ),
    Broken(
        "keeps_the_first_uuid",
        with_call(encode=_keeps_the_first_uuid),
        "each_attempt_sends_its_uuid",
        "does not send its uuid",
    ),
    Broken(
        "lowers_the_player",
        with_call(encode=_normalizes_the_player(str.casefold)),
        "ids_are_sent_unchanged",
        "'Tester' and 'tester' become the same",
    ),
    Broken(
        "numbers_the_player",
        with_call(encode=_normalizes_the_player(lambda player: player.lstrip("0") or player)),
        "ids_are_sent_unchanged",
        "'007' and '7' become the same",
    ),
    Broken(
        "trims_the_player",
        with_call(encode=_normalizes_the_player(lambda player: player.strip() or player)),
        "ids_are_sent_unchanged",
        "' x ' and 'x' become the same",
    ),
    Broken(
        "accepts_an_empty_body",
        with_call(decode=_accepts_statuses(202, 204, empty=True)),
        "garbage_is_malformed",
        "an answer with HTTP 202",
    ),
    Broken(
        "accepts_any_body",
        with_call(decode=_accepts_statuses(206, empty=False)),
        "garbage_is_malformed",
        "an answer with HTTP 206",
    ),
    Broken(
        "trusts_the_unlisted",
        without_goldens(with_call(decode=_trusts_the_unlisted), "refused_maybe.toml"),
        "unknown_codes_are_refused",
        "stays a success with any value in",
    ),
    Broken("names_no_field", with_call(encode=_names_no_field), "any_call_is_encoded_or_refused", "'session'"),
    Broken("escapes_nothing", with_call(encode=_escapes_nothing), "any_id_closes_its_session", "does not close"),
    Broken(
        "shows_the_token",
        with_call(encode=_shows_the_token),
        "secrets_are_not_exposed",
        "a refusal of encode shows a token",
    ),
    Broken("takes_anything", with_call(decode=_takes_anything), "garbage_is_malformed", "accepted as an answer"),
    Broken("trusts_the_form", with_call(decode=_trusts_the_form), "any_reply_is_decoded_or_refused", "Error"),
    Broken("reads_error_pages", with_call(decode=_reads_error_pages), "http_failures_are_refusals", "not decoded as"),
    Broken("loses_the_words", with_call(decode=_loses_the_words), "replies_are_decoded", "of the reply"),
    Broken(
        "writes_latin", with_call(encode=_writes_latin), "any_call_is_encoded_or_refused", "raises UnicodeEncodeError"
    ),
    Broken(
        "sends_no_token",
        with_call(encode=_sends_no_token),
        "caller_token_overrides_account_token",
        "same with another token",
    ),
    Broken(
        "claims_a_color",
        with_call(optional_fields=frozenset({"color"})),
        "required_fields_are_enforced",
        "name ['color']",
    ),
    Broken(
        "forgets_the_status", with_call(decode=_forgets_the_status), "any_reply_is_decoded_or_refused", "well-typed"
    ),
    Broken("refuses_the_empty", with_call(decode=_refuses_the_empty), "simulator_accepts_encoded_calls", "is closed"),
    Broken(
        "ends_more_than_asked",
        without_goldens(with_call(encode=_ignores_the_game), "closed_one_game.toml"),
        "any_id_closes_its_session",
        "does not close",
    ),
    Broken("returns_an_echo", with_call(decode=_returns_an_echo), "secrets_are_not_exposed", "a success shows a token"),
)
