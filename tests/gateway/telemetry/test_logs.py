"""Every line of the log is JSON, whole, and without a secret."""

import asyncio
import io
import json
import logging
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.contract import Secret
from gateway.masking.by_value import KnownSecrets
from gateway.telemetry import logs
from gateway.telemetry.logs import Rendered
from tests.gateway.telemetry.lines import SECRET, Lines


def test_an_event_is_one_line_of_json(written: Lines) -> None:
    """An event has its level, its logger, its time and what was said with it, escapes and line breaks included."""
    structlog.get_logger("gateway.sessions").warning(
        "it\nhappened \x1b[31m", provider="acme", tries=2, odd={"a": (1, None)}
    )
    (line,) = written()
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "event": "it\nhappened \x1b[31m",
        "level": "warning",
        "logger": "gateway.sessions",
        "provider": "acme",
        "tries": 2,
        "odd": {"a": [1, None]},
    }


def test_lines_carry_what_is_bound_to_the_context(written: Lines) -> None:
    """Behind `bind` every line of the context, a library's too, carries the request and the provider; no other does."""

    def inside() -> None:
        logs.bind(request_id="r-1", provider="acme")
        structlog.get_logger().info("ours")
        logging.getLogger("grpc").info("theirs")

    copy_context().run(inside)
    structlog.get_logger().info("after")
    ours, theirs, after = written()
    assert ours["request_id"] == theirs["request_id"] == "r-1"
    assert ours["provider"] == theirs["provider"] == "acme"
    assert "request_id" not in after


def test_levels_below_the_threshold_are_not_written(written: Lines) -> None:
    """At `info` neither our debug lines nor a library's are written."""
    structlog.get_logger().debug("ours")
    logging.getLogger("aiohttp.server").debug("theirs")
    assert written() == []


def test_an_unknown_level_is_refused() -> None:
    """A misspelt level is an error that says what there is."""
    with pytest.raises(ValueError, match="'loud' is not one of debug, info"):
        logs.configure("loud", ())


def test_secrets_are_masked_by_key_and_by_value(written: Lines) -> None:
    """At any depth, under any key that names a secret, and wherever a known secret stands, there is only the mask."""
    structlog.get_logger().info(
        f"called with {SECRET}",
        token="unknown",
        Authorization="Basic unknown",
        callback_key=["unknown"],
        request={"headers": [{"X-Api-Token": "unknown"}], SECRET: "a", "body": f'{{"a":"{SECRET}"}}'.encode()},
        answer='{"token":"unknown","a":1}',
        given=Secret("unknown"),
        where=f"https://x/?k={SECRET}",
    )
    (line,) = written()
    text = json.dumps(line)
    assert "unknown" not in text
    assert SECRET not in text
    assert line["event"] == "called with ***"
    assert line["request"] == {"headers": [{"X-Api-Token": "***"}], "***": "a", "body": '{"a":"***"}'}
    assert line["answer"] == '{"token":"***","a":1}'
    assert line["where"] == "https://x/?k=***"


def test_what_libraries_log_is_masked_too(written: Lines) -> None:
    """A line of the standard library's logging goes through the same processors, its arguments included."""
    logging.getLogger("asyncio").error("lost %s with %r", "acme", {"a": SECRET})
    (line,) = written()
    assert line["event"] == "lost acme with {'a': '***'}"
    assert (line["level"], line["logger"]) == ("error", "asyncio")


def test_access_lines_are_not_written(written: Lines) -> None:
    """aiohttp's access log would show the keys in callback URLs, wrong ones too."""
    logging.getLogger("aiohttp.access").info("POST /callbacks/acme/a-wrong-key/V4/Result")
    assert written() == []


def failing(password: str) -> None:
    local_only = f"local-{len(password)}-local"
    raise RuntimeError(f"refused {password}, at {len(local_only)}")


@pytest.mark.parametrize("log", [lambda: structlog.get_logger("x"), lambda: logging.getLogger("x")])
def test_a_traceback_has_no_locals_and_no_secret(written: Lines, log: Callable[[], Any]) -> None:
    """An exception is written with its traceback, on one line, masked, and without the values of local variables."""
    try:
        failing(SECRET)
    except RuntimeError as error:
        log().error("it failed", exc_info=error)
    (line,) = written()
    assert "RuntimeError: refused ***, at 14" in line["exception"]
    assert "in failing" in line["exception"]
    assert SECRET not in json.dumps(line)
    assert "local-17-local" not in json.dumps(line)


def test_a_line_that_cannot_be_written_does_not_show_itself(written: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a line's arguments do not fit, that is told, and neither message nor arguments leak on standard error."""
    del logging.getLogger().handlers[1:]  # pytest's own, which fail the test where a line cannot be written
    logging.getLogger("x").error("%d times", SECRET)
    structlog.get_logger().info("next")
    lost, following = written()
    assert "was lost: TypeError" in lost["event"]
    assert following["event"] == "next"
    captured = capsys.readouterr()
    assert SECRET not in captured.err + captured.out


def test_nothing_else_writes_the_same_lines(written: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    """A handler installed before would write unmasked: it is gone, and configuring again doubles nothing."""
    logging.getLogger().addHandler(logging.StreamHandler())
    stream = io.StringIO()
    logs.configure("info", (Secret(SECRET),), stream)
    structlog.get_logger().info(SECRET)
    assert len(stream.getvalue().splitlines()) == 1
    assert SECRET not in capsys.readouterr().err + stream.getvalue()


DISGUISED = (
    SECRET,
    f"x{SECRET}y",
    f"https://x/?k={SECRET}",
    SECRET.replace("-", "%2D"),
    json.dumps({"a": {"b": SECRET}}),
    json.dumps(json.dumps(SECRET.replace("h", "\\u0068"))),
    b64encode(f"u:{SECRET}".encode()).decode(),
)
"""The secret as it may stand in words."""

NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.sampled_from(DISGUISED),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("token"), inner, max_size=3),
)


@given(st.dictionaries(st.text() | st.sampled_from(["token", "callback_key"]), NESTED, max_size=4))
@example({"value": [float("nan"), float("-inf")]})
@example({"value": float("nan"), "big": 2**70, "half": "\ud800"})
def test_any_value_can_be_logged(values: dict[str, object]) -> None:
    """Whatever is logged becomes one line of strict JSON, whose values, once read, hold no known secret."""
    line = Rendered((Secret(SECRET),))(None, "info", {**values, "event": "x"})
    assert "\n" not in line
    read = json.loads(line, parse_constant=pytest.fail)
    assert read["event"] == "x"
    words = list(_words(read))
    assert not any(form in word for word in words for form in DISGUISED)
    assert "***" in line or not any(form in str(values) for form in DISGUISED)


def _words(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)
    else:
        yield str(value)


@pytest.mark.parametrize("disguised", DISGUISED)
def test_a_secret_among_plain_values_is_found(disguised: str) -> None:
    """A line that is nearly all plain words and numbers is looked through as any other."""
    plain = {"event": "callback", "provider": "acme", "tries": 3, "seconds": 0.5, "ok": True, "none": None}
    line = Rendered((Secret(SECRET),))(None, "info", {**plain, "detail": disguised})
    assert disguised not in json.loads(line)["detail"]
    assert "***" in line
    assert json.loads(Rendered((Secret(SECRET),))(None, "info", dict(plain))) == plain


def test_a_value_without_an_end_is_cut() -> None:
    """A structure that holds itself is logged to a certain depth."""
    endless: list[Any] = [1]
    endless.append(endless)
    assert len(Rendered(())(None, "info", {"value": endless})) < 200


def test_what_stands_under_a_secret_name_is_masked_whatever_it_is(written: Lines) -> None:
    """Also in a line of plain values, none of which is known as a secret."""
    structlog.get_logger().info("x", token="nobody-knows-it", callback_key="nor-this", other="plain")
    (line,) = written()
    assert (line["token"], line["callback_key"], line["other"]) == ("***", "***", "plain")


class Counted(io.StringIO):
    """Counts the writes."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


@pytest.fixture
def counted(written: Lines) -> Counted:
    """Where the log goes, told apart by writes; what `written` puts back is put back."""
    stream = Counted()
    logs.configure("info", (), stream)
    return stream


def events(stream: io.StringIO) -> list[str]:
    """What was written so far."""
    return [json.loads(line)["event"] for line in stream.getvalue().splitlines()]


async def test_lines_of_one_turn_of_the_loop_are_one_write(counted: Counted) -> None:
    """A busy gateway does not write once a call; the lines are whole, in their order, and there by the next turn."""
    log = structlog.get_logger()
    for number in range(100):
        log.info("line", number=number)
    assert counted.writes == 0
    await asyncio.sleep(0)
    assert counted.writes == 1
    assert [json.loads(line)["number"] for line in counted.getvalue().splitlines()] == list(range(100))
    log.info("next turn")
    await asyncio.sleep(0)
    assert events(counted)[100:] == ["next turn"]


async def test_a_warning_is_written_at_once_behind_what_waits(counted: Counted) -> None:
    """What is logged before a crash is there after it; a library's line keeps its place too."""
    structlog.get_logger().info("first")
    structlog.get_logger().warning("second")
    assert events(counted) == ["first", "second"]
    structlog.get_logger().info("third")
    logging.getLogger("grpc").info("fourth")
    assert events(counted) == ["first", "second", "third", "fourth"]


async def test_no_line_of_another_thread_is_lost(counted: Counted) -> None:
    """The store's thread logs too."""
    log = structlog.get_logger()

    def other() -> None:
        for number in range(200):
            log.info("theirs", number=number)

    thread = asyncio.create_task(asyncio.to_thread(other))
    for number in range(200):
        log.info("ours", number=number)
        await asyncio.sleep(0)
    await thread
    await asyncio.sleep(0)
    said = [json.loads(line) for line in counted.getvalue().splitlines()]
    for whose in ("ours", "theirs"):
        assert [line["number"] for line in said if line["event"] == whose] == list(range(200))


def test_what_waits_when_a_loop_ends_is_written(counted: Counted) -> None:
    """The last lines of a loop do not wait for ever: the next loop's lines, or the process's end, take them along."""

    async def say() -> None:
        structlog.get_logger().info("another loop")
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.call_soon(structlog.get_logger().info, "last words")
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert events(counted) == []
    asyncio.run(say())
    assert events(counted) == ["last words", "another loop"]


def test_what_is_logged_while_a_line_is_written_is_written_too(written: Lines) -> None:
    """Garbage is collected at any moment, and asyncio logs what it finds there: nobody waits for himself."""

    class Collecting(io.StringIO):
        """Logs as a finalizer would that runs while a line is written."""

        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            if self.writes <= 2:
                logging.getLogger("asyncio").error("found %d", self.writes)
            return super().write(text)

    stream = Collecting()
    logs.configure("info", (), stream)
    writing = threading.Thread(target=structlog.get_logger().warning, args=("a line",), daemon=True)
    writing.start()
    writing.join(5)
    assert not writing.is_alive()
    assert events(stream) == ["a line", "found 1", "found 2"]


# --- While the gateway runs -------------------------------------------------------------------------------------------


async def test_the_level_changes_for_loggers_that_are_bound_already(counted: Counted) -> None:
    """Ours and a library's; and a level that logging does not know changes nothing."""
    bound, library = structlog.get_logger().bind(of="before"), logging.getLogger("library")
    for level in ("warning", "info", "error", "debug"):
        logs.set_level(level)
        with pytest.raises(ValueError, match="loud"):
            logs.set_level("loud")
        for log in (bound, structlog.get_logger()):
            for method in ("debug", "info", "warning"):
                getattr(log, method)(f"{level}: {method}")
        library.info(f"{level}: info")
    await asyncio.sleep(0)
    written = Counter(events(counted))
    assert written == {
        "warning: warning": 2,
        "info: info": 3,
        "info: warning": 2,
        "debug: debug": 2,
        "debug: info": 3,
        "debug: warning": 2,
    }


def test_secrets_that_are_learnt_are_masked(written: Lines) -> None:
    """Beside those that were known when the log was configured, by loggers that are bound already too."""
    secrets, stream = KnownSecrets([Secret(SECRET)]), io.StringIO()
    logs.configure("info", secrets, stream)
    log = structlog.get_logger().bind()
    secrets.learn([Secret("learnt-later")])
    log.info("said", words=f"{SECRET} and learnt-later")
    assert json.loads(stream.getvalue())["words"] == "*** and ***"
