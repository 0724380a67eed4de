import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from common_core.printable import is_printable
from service_libs.logging import configure_logging


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _own_configuration() -> Iterator[None]:
    """Whatever a test configures, the next one finds what was there before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def written(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json_with_the_bound_context() -> None:
    stream = io.StringIO()
    configure_logging("INFO", stream)
    structlog.contextvars.bind_contextvars(correlation_id="c-1")

    structlog.get_logger("some.module").info("phase_skipped", step="spellcheck")

    (line,) = written(stream)
    assert line["event"] == "phase_skipped"
    assert line["step"] == "spellcheck"
    assert line["correlation_id"] == "c-1"
    assert line["level"] == "info"
    assert line["logger"] == "some.module"
    assert "timestamp" in line


def test_records_of_libraries_go_the_same_way() -> None:
    stream = io.StringIO()
    configure_logging("INFO", stream)
    structlog.contextvars.bind_contextvars(correlation_id="c-1")

    logging.getLogger("aiokafka.consumer").warning("lost %s", "it", extra={"partition": 3})

    (line,) = written(stream)
    assert line["event"] == "lost it"
    assert line["partition"] == 3
    assert line["correlation_id"] == "c-1"


def test_libraries_that_talk_much_are_heard_from_warnings_on() -> None:
    stream = io.StringIO()
    configure_logging("DEBUG", stream)

    logging.getLogger("aiokafka").info("heartbeat")

    assert not stream.getvalue()


def test_a_library_that_repeats_itself_is_heard_once() -> None:
    stream = io.StringIO()
    configure_logging("INFO", stream)

    for _ in range(200):
        logging.getLogger("aiokafka").error("unable to connect to %s", "kafka:9092")
    for number in range(200):
        logging.getLogger("aiokafka").error("lost record %s", number)

    assert len(written(stream)) == 201


def test_our_own_events_are_told_each_time() -> None:
    stream = io.StringIO()
    configure_logging("INFO", stream)

    for _ in range(3):
        structlog.get_logger("some.module").info("phase_skipped")

    assert len(written(stream)) == 3


class FullDisk(io.StringIO):
    def close(self) -> None:
        pass

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_disturbs_nobody() -> None:
    for stream in (FullDisk(), io.StringIO()):
        configure_logging("INFO", stream)
        stream.close()

        structlog.get_logger("some.module").info("phase_skipped")


def test_what_json_does_not_know_is_written_as_text() -> None:
    stream = io.StringIO()
    configure_logging("INFO", stream)

    structlog.get_logger("some.module").info("asked", big=2**70, odd={(1, 2)}, lone="\udc80")

    (line,) = written(stream)
    assert line["big"] == 2**70
    assert line["odd"] == "{(1, 2)}"


def test_a_line_begins_with_when_how_bad_and_what() -> None:
    stream = io.StringIO()
    configure_logging("INFO", stream)

    structlog.get_logger("some.module").info("phase_skipped", step="spellcheck")

    assert list(written(stream)[0])[:3] == ["timestamp", "level", "event"]


def test_events_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure_logging("WARNING", stream)

    structlog.get_logger("some.module").info("phase_skipped")

    assert not stream.getvalue()


def test_an_exception_stays_on_its_line() -> None:
    stream = io.StringIO()
    configure_logging("INFO", stream)

    structlog.get_logger("some.module").error("request_failed", exc_info=ValueError("bad\nvalue"))

    (line,) = written(stream)
    assert "ValueError" in str(line["exception"])


def test_a_person_at_a_terminal_gets_readable_lines() -> None:
    stream = Terminal()
    configure_logging("INFO", stream)

    structlog.get_logger("some.module").info("phase_skipped", step="spellcheck")

    assert "phase_skipped" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize("stream_type", [io.StringIO, Terminal])
def test_the_password_of_an_address_is_masked(stream_type: type[io.StringIO]) -> None:
    stream = stream_type()
    configure_logging("INFO", stream)

    structlog.get_logger("some.module").info("refused", reason="redis://bcs:hunter2@redis:6379/0")

    assert "hunter2" not in stream.getvalue()
    assert "redis:6379" in stream.getvalue()


@pytest.mark.parametrize("stream_type", [io.StringIO, Terminal])
def test_a_traceback_does_not_show_the_values_of_variables(
    stream_type: type[io.StringIO],
) -> None:
    stream = stream_type()
    configure_logging("INFO", stream)

    def connect(password: str) -> None:
        raise ValueError(len(password))

    try:
        connect("hunter" + str(2))
    except ValueError as error:
        structlog.get_logger("some.module").error("request_failed", exc_info=error)

    assert "ValueError" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


HOSTILE = "a\x1b]0;title\x07b\x9b2Jc\x7fd\u202ee\nforged\x08\u2028"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("stream_type", [io.StringIO, Terminal])
def test_no_value_from_outside_reaches_a_terminal_raw(stream_type: type[io.StringIO]) -> None:
    stream = stream_type()
    configure_logging("INFO", stream)
    structlog.contextvars.bind_contextvars(correlation_id=HOSTILE)

    structlog.get_logger("some.module").info(HOSTILE, step=HOSTILE, nested={HOSTILE: [HOSTILE]})
    logging.getLogger("some.package").warning("lost %s", HOSTILE)

    lines = COLOURS.sub("", stream.getvalue()).splitlines()
    assert len(lines) == 2
    assert all(is_printable(line) for line in lines)
    assert all("forged" in line for line in lines)


@pytest.mark.parametrize("stream_type", [io.StringIO, Terminal])
def test_neither_does_the_text_of_an_exception(stream_type: type[io.StringIO]) -> None:
    stream = stream_type()
    configure_logging("INFO", stream)

    structlog.get_logger("some.module").error("request_failed", exc_info=ValueError(HOSTILE))

    lines = COLOURS.sub("", stream.getvalue()).split("\n")
    assert all(is_printable(line) for line in lines)
    assert "ValueError" in stream.getvalue()


def test_json_has_the_value_as_it_was() -> None:
    stream = io.StringIO()
    configure_logging("INFO", stream)

    structlog.get_logger("some.module").info("asked", step=HOSTILE)

    assert json.loads(stream.getvalue())["step"] == HOSTILE


def test_what_aiokafka_tries_again_is_no_error() -> None:
    stream = io.StringIO()
    configure_logging("INFO", stream)

    logging.getLogger("aiokafka.cluster").error("Topic %s not found", "t")
    logging.getLogger("aiokafka.fetcher").error("Unexpected", exc_info=ZeroDivisionError())
    logging.getLogger("asyncio").error("A task was lost")

    assert [line["level"] for line in written(stream)] == ["warning", "error", "error"]
