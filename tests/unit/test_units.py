"""The folder stays fast because nothing in it leaves the process."""

import os
import socket
import sqlite3
import subprocess
from collections.abc import Callable

import apsw
import pytest


def connect() -> None:
    with socket.socket() as one:
        one.connect(("127.0.0.1", 9))


def listen() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))


@pytest.mark.parametrize(
    "reach_out",
    [
        connect,
        listen,
        lambda: subprocess.run(("true",), check=True),
        lambda: os.system("true"),  # noqa: S605 - it is refused
        lambda: sqlite3.connect(":memory:"),
        lambda: apsw.Connection(":memory:"),
    ],
    ids=["connect", "listen", "program", "shell", "sqlite3", "apsw"],
)
def test_what_leaves_the_process_is_told_where_it_belongs(reach_out: Callable[[], object]) -> None:
    with pytest.raises(AssertionError, match=r"in tests/unit/test_units.py::test_what.*belongs in tests/component"):
        reach_out()
