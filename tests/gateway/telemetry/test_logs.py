"""Every line of the log is complete JSON without a secret."""

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
from tests.gateway.telemetry.harness import SECRET, LogLines, lines_of


def test_an_event_is_one_line_of_json(log_lines: LogLines) -> None:
    """It has its level, logger, time and fields, and its line breaks and control characters are escaped."""
    structlog.get_logger("gateway.sessions").warning(
        "it\nhappened \x1b[31m", provider="acme", tries=2, odd={"a": (1, None)}
    )
    (line,) = log_lines()
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "event": "it\nhappened \x1b[31m",
        "level": "warning",
        "logger": "gateway.sessions",
        "provider": "acme",
        "tries": 2,
        "odd": {"a": [1, None]},
    }


def test_bound_fields_are_in_every_line_of_the_context(log_lines: LogLines) -> None:
    """After `bind` the context's lines, also a library's, have the bound fields, and no other context's do."""

    def inside() -> None:
        logs.bind(request_id="r-1", provider="acme")
        structlog.get_logger().info("ours")
        logging.getLogger("grpc").info("theirs")

    copy_context().run(inside)
    structlog.get_logger().info("after")
    ours, theirs, after = log_lines()
    assert ours["request_id"] == theirs["request_id"] == "r-1"
    assert ours["provider"] == theirs["provider"] == "acme"
    assert "request_id" not in after


def test_lines_below_the_level_are_not_written(log_lines: LogLines) -> None:
    """At `info` neither our debug lines nor a library's are written."""
    structlog.get_logger().debug("ours")
    logging.getLogger("aiohttp.server").debug("theirs")
    assert log_lines() == []


def test_an_unknown_level_is_rejected() -> None:
    """The error lists the levels."""
    with pytest.raises(ValueError, match="'loud' is not one of debug, info"):
        logs.configure("loud", ())


def test_secrets_are_masked_by_key_and_by_value(log_lines: LogLines) -> None:
    """Values of keys that name a secret, and known secrets anywhere, are masked at any depth."""
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
    (line,) = log_lines()
    text = json.dumps(line)
    assert "unknown" not in text
    assert SECRET not in text
    assert line["event"] == "called with ***"
    assert line["request"] == {"headers": [{"X-Api-Token": "***"}], "***": "a", "body": '{"a":"***"}'}
    assert line["answer"] == '{"token":"***","a":1}'
    assert line["where"] == "https://x/?k=***"


def test_lines_of_libraries_are_masked(log_lines: LogLines) -> None:
    """A line of the standard library's logging is masked, also in its arguments."""
    logging.getLogger("asyncio").error("lost %s with %r", "acme", {"a": SECRET})
    (line,) = log_lines()
    assert line["event"] == "lost acme with {'a': '***'}"
    assert (line["level"], line["logger"]) == ("error", "asyncio")


def test_access_lines_are_not_written(log_lines: LogLines) -> None:
    """aiohttp's access log, which has the callback keys of URLs, is off."""
    logging.getLogger("aiohttp.access").info("POST /callbacks/acme/a-wrong-key/V4/Result")
    assert log_lines() == []


def failing(password: str) -> None:
    local_only = f"local-{len(password)}-local"
    raise RuntimeError(f"refused {password}, at {len(local_only)}")


@pytest.mark.parametrize("log", [lambda: structlog.get_logger("x"), lambda: logging.getLogger("x")])
def test_a_traceback_has_no_locals_and_no_secret(log_lines: LogLines, log: Callable[[], Any]) -> None:
    """An exception is logged with its traceback on one line, masked, without values of local variables."""
    try:
        failing(SECRET)
    except RuntimeError as error:
        log().error("it failed", exc_info=error)
    (line,) = log_lines()
    assert "RuntimeError: refused ***, at 14" in line["exception"]
    assert "in failing" in line["exception"]
    assert SECRET not in json.dumps(line)
    assert "local-17-local" not in json.dumps(line)


def test_a_line_that_cannot_be_rendered_is_reported(log_lines: LogLines, capsys: pytest.CaptureFixture[str]) -> None:
    """The report has neither the message nor the arguments, and nothing is on standard error."""
    del logging.getLogger().handlers[1:]  # pytest's handlers fail the test where a line cannot be rendered
    logging.getLogger("x").error("%d times", SECRET)
    structlog.get_logger().info("next")
    lost, following = log_lines()
    assert "was lost: TypeError" in lost["event"]
    assert following["event"] == "next"
    captured = capsys.readouterr()
    assert SECRET not in captured.err + captured.out


def test_a_line_is_written_once(log_lines: LogLines, capsys: pytest.CaptureFixture[str]) -> None:
    """Handlers from before are removed, and configuring twice does not duplicate lines."""
    logging.getLogger().addHandler(logging.StreamHandler())
    stream = io.StringIO()
    logs.configure("info", (Secret(SECRET),), stream)
    structlog.get_logger().info(SECRET)
    assert len(lines_of(stream)) == 1
    assert SECRET not in capsys.readouterr().err + stream.getvalue()


ENCODED = (
    SECRET,
    f"x{SECRET}y",
    f"https://x/?k={SECRET}",
    SECRET.replace("-", "%2D"),
    json.dumps({"a": {"b": SECRET}}),
    json.dumps(json.dumps(SECRET.replace("h", "\\u0068"))),
    b64encode(f"u:{SECRET}".encode()).decode(),
)
"""The secret in forms that occur in text."""

NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.sampled_from(ENCODED),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("token"), inner, max_size=3),
)


@given(st.dictionaries(st.text() | st.sampled_from(["token", "callback_key"]), NESTED, max_size=4))
@example({"value": [float("nan"), float("-inf")]})
@example({"value": float("nan"), "big": 2**70, "half": "\ud800"})
def test_any_value_can_be_logged(values: dict[str, object]) -> None:
    """Any values become one line of strict JSON without a known secret."""
    line = Rendered((Secret(SECRET),))(None, "info", {**values, "event": "x"})
    assert "\n" not in line
    read = json.loads(line, parse_constant=pytest.fail)
    assert read["event"] == "x"
    strings = list(_strings(read))
    assert not any(form in text for text in strings for form in ENCODED)
    assert "***" in line or not any(form in str(values) for form in ENCODED)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
    else:
        yield str(value)


@pytest.mark.parametrize("encoded", ENCODED)
def test_a_secret_among_plain_values_is_masked(encoded: str) -> None:
    """A line of plain values is searched for secrets like any other."""
    plain = {"event": "callback", "provider": "acme", "tries": 3, "seconds": 0.5, "ok": True, "none": None}
    line = Rendered((Secret(SECRET),))(None, "info", {**plain, "detail": encoded})
    assert encoded not in json.loads(line)["detail"]
    assert "***" in line
    assert json.loads(Rendered((Secret(SECRET),))(None, "info", dict(plain))) == plain


def test_a_cyclic_value_is_truncated() -> None:
    """A structure that contains itself is logged to a maximum depth."""
    endless: list[Any] = [1]
    endless.append(endless)
    assert len(Rendered(())(None, "info", {"value": endless})) < 200


def test_plain_values_of_secret_keys_are_masked(log_lines: LogLines) -> None:
    """A key that names a secret masks its value, also in a line of plain values."""
    structlog.get_logger().info("x", token="nobody-knows-it", callback_key="nor-this", other="plain")
    (line,) = log_lines()
    assert (line["token"], line["callback_key"], line["other"]) == ("***", "***", "plain")


@pytest.fixture
def stream(log_lines: LogLines) -> io.StringIO:
    """The stream of the log. The fixture `log_lines` restores logging."""
    stream = io.StringIO()
    logs.configure("info", (), stream)
    return stream


def events(stream: io.StringIO) -> list[str]:
    """The events of all lines so far."""
    return [line["event"] for line in lines_of(stream)]


async def test_lines_are_written_in_their_order(stream: io.StringIO) -> None:
    """Ours and a library's, of any level, and each thread's."""
    log = structlog.get_logger()

    def other() -> None:
        for number in range(200):
            log.info("theirs", number=number)

    thread = asyncio.create_task(asyncio.to_thread(other))
    for number in range(0, 200, 2):
        log.info("ours", number=number)
        await asyncio.sleep(0)
        logging.getLogger("grpc").warning("%d", number + 1)
    await thread
    lines = lines_of(stream)
    ours = [line.get("number", line["event"]) for line in lines if line["event"] != "theirs"]
    assert ours == [number if number % 2 == 0 else str(number) for number in range(200)]
    assert [line["number"] for line in lines if line["event"] == "theirs"] == list(range(200))


def test_a_line_logged_while_one_is_queued_is_written(stream: io.StringIO) -> None:
    """A finalizer that logs while a line is being queued causes no deadlock."""
    log = logging.getLogger("asyncio")

    class Finalized(str):
        """Logs when its length is read, as a finalizer can."""

        __slots__ = ()

        def __len__(self) -> int:
            log.error("found")
            return super().__len__()

    (handler,) = (each for each in logging.getLogger().handlers if isinstance(each, logs._Handler))
    writing = threading.Thread(target=handler.writer.put, args=("warning", Finalized('{"event": "a line"}')))
    writing.start()
    writing.join(30)
    assert not writing.is_alive()
    assert logs.flush()
    assert {json.loads(line)["event"] for line in stream.getvalue().splitlines()} == {"a line", "found"}


def test_a_workers_lines_have_its_number(log_lines: LogLines, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the lines of one among several processes can be distinguished."""
    monkeypatch.setattr(logs, "_SOURCE", dict(logs._SOURCE))
    stream = io.StringIO()
    logs.configure("info", (), stream, worker=0)
    structlog.get_logger().info("x")
    logging.getLogger("library").warning("y")
    assert [line["worker"] for line in lines_of(stream)] == [0, 0]


# --- While the gateway runs -------------------------------------------------------------------------------------------


async def test_set_level_applies_to_bound_loggers(stream: io.StringIO) -> None:
    """It applies to ours and to a library's, and an unknown level changes nothing."""
    bound, library = structlog.get_logger().bind(of="before"), logging.getLogger("library")
    for level in ("warning", "info", "error", "debug"):
        logs.set_level(level)
        with pytest.raises(ValueError, match="loud"):
            logs.set_level("loud")
        for log in (bound, structlog.get_logger()):
            for method in ("debug", "info", "warning"):
                getattr(log, method)(f"{level}: {method}")
        library.info(f"{level}: info")
    counts = Counter(events(stream))
    assert counts == {
        "warning: warning": 2,
        "info: info": 3,
        "info: warning": 2,
        "debug: debug": 2,
        "debug: info": 3,
        "debug: warning": 2,
    }


def test_secrets_learnt_later_are_masked(log_lines: LogLines) -> None:
    """Secrets added after the log was configured are masked, also by bound loggers."""
    secrets, stream = KnownSecrets([Secret(SECRET)]), io.StringIO()
    logs.configure("info", secrets, stream)
    log = structlog.get_logger().bind()
    secrets.learn([Secret("learnt-later")])
    log.info("event", text=f"{SECRET} and learnt-later")
    assert [line["text"] for line in lines_of(stream)] == ["*** and ***"]
