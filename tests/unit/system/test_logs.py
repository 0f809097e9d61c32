import json
import logging
import sys

import pytest

from ragrid.system.logs import JsonLines


def _line(message: str, *arguments: object, **fields: object) -> dict[str, object]:
    record = logging.LogRecord("ragrid.web", logging.WARNING, __file__, 1, message, arguments, None)
    vars(record).update(fields)
    text = JsonLines("memory").format(record)
    assert "\n" not in text
    line: dict[str, object] = json.loads(text)
    return line


def test_fields_stand_beside_the_message() -> None:
    line = _line("slow %s", "disk", took_s=0.5)
    assert (line["message"], line["took_s"], line["part"], line["level"]) == ("slow disk", 0.5, "memory", "warning")


@pytest.mark.parametrize("hostile", ["a\nb", "a\u2028b", "\ud800", "\0", object(), {1, 2}, b"\xff"])
def test_no_field_breaks_the_line(hostile: object) -> None:
    assert _line("x", field=hostile)["message"] == "x"


def test_a_field_never_replaces_what_every_line_has() -> None:
    assert _line("x", part="other", level="none")["part"] == "memory"


def test_a_traceback_is_one_field() -> None:
    try:
        json.loads("{")
    except ValueError:
        assert "JSONDecodeError" in str(_line("failed", exc_info=sys.exc_info())["traceback"])
