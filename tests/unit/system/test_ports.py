"""What is said about a taken port, and which addresses clash; no socket is opened here."""

import pytest

from ragrid.system.ports import ListeningSocket, overlaps, taken_text

ALL_IPV4 = "0.0.0.0"  # noqa: S104 - compared, never opened


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        (ALL_IPV4, "127.0.0.1", True),
        ("127.0.0.1", ALL_IPV4, True),
        ("::", "127.0.0.1", True),
        (ALL_IPV4, "::1", False),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("grid.example", "grid.example", True),
        ("grid.example", "127.0.0.1", False),
    ],
)
def test_addresses_that_clash_on_one_port(one: str, other: str, clash: bool) -> None:
    assert overlaps(one, other) is clash


def test_a_taken_port_names_its_holder_and_the_key_to_change() -> None:
    holder = ListeningSocket("127.0.0.1", 8001, 123, "nginx")
    assert taken_text("services.chromadb.port", "127.0.0.1", 8001, holder) == (
        "port 8001 on 127.0.0.1 is taken by nginx (pid 123); "
        "set services.chromadb.port in grid.yaml to another, or stop that process"
    )


def test_a_holder_that_the_kernel_hides_is_not_invented() -> None:
    text = taken_text("gateway.https", "127.0.0.1", 443, ListeningSocket(ALL_IPV4, 443))
    assert "a process of another user" in text
    assert "not visible from here" in taken_text("gateway.https", "127.0.0.1", 443, None)
