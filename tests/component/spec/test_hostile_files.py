"""Hostile files are refused quickly and in little memory, each in a process of its own with hard limits.

The process may use 256 MiB of memory and 10 s of processor, its start and imports included; reading one
file took at most 0.4 s of processor when it was measured, and the process had 39 MiB at most.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MEMORY_BYTES = 256 * 1024 * 1024
PROCESSOR_S = 10

CHILD = f"""
import json, pathlib, resource, sys, time
resource.setrlimit(resource.RLIMIT_CPU, ({PROCESSOR_S}, {PROCESSOR_S}))
from ragrid.errors import SpecError
from ragrid.spec.load import load_grid
start = time.process_time()
try:
    load_grid(pathlib.Path(sys.argv[1]))
    faults = None
except SpecError as error:
    faults = list(error.faults)
took_s = time.process_time() - start
status = pathlib.Path("/proc/self/status").read_text()  # getrusage would tell of the parent's memory too
peak_bytes = int(status.split("VmHWM:")[1].split()[0]) * 1024
print(json.dumps({{"faults": faults, "took_s": took_s, "peak_bytes": peak_bytes}}))
"""


def alias_bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()


def block_nesting(levels: int) -> bytes:
    """Block style indents each level by one more column, so its size grows with the square; `- - -` does not."""
    return b"a:\n  " + b"- " * levels + b"x\n"


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "10 MB of keys": (lambda: b"".join(b"key%d: value\n" % n for n in range(700_000)), "got a larger file"),
    "10 MB on one line": (lambda: b"grid: " + b"x" * 10_000_000, "got a larger file"),
    "10 MB of nothing": (lambda: b"\0" * 10_000_000, "got a larger file"),
    "10,000 levels of lists": (lambda: b"grid: " + b"[" * 10_000 + b"]" * 10_000, "wanted at most 32 levels"),
    "10,000 levels of mappings": (lambda: b"grid: " + b"{a: " * 10_000 + b"}" * 10_000, "wanted at most 32 levels"),
    "10,000 levels in block style": (lambda: block_nesting(10_000), "wanted at most 32 levels"),
    "10,000 open brackets": (lambda: b"[" * 10_000, "wanted at most 32 levels"),
    "100,000 levels of complex keys": (lambda: b"? " * 100_000, "wanted at most 32 levels"),
    "an alias bomb": (alias_bomb, "got an alias"),
    "an alias to itself": (lambda: b"grid: &a [*a]\n", "got an alias"),
    "many small values": (lambda: b"[" + b"1," * 120_000 + b"]", "wanted at most 10000 in one file"),
    "many documents": (lambda: b"---\n" * 60_000, "got a second document"),
    "many duplicate keys": (lambda: b"a: 1\n" * 4_000, "got this key twice"),
    "many unknown keys": (lambda: b"".join(b"gateways%d: 1\n" % n for n in range(4_000)), "got an unknown key"),
    "many hosts on one address": (
        lambda: (
            b"grid: x\nservices: {memory: {}}\nhosts:\n"
            + b"".join(b"  h%d: {lan: 10.0.0.1}\n" % n for n in range(2_400))
        ),
        "an address of its own",
    ),
    "a long number": (lambda: b"grid: " + b"9" * 200_000, "got '999"),
    "a long key": (lambda: b"k" * 200_000 + b": 1\n", "YAML cannot hold"),
    "a huge version": (lambda: b"%YAML 1." + b"9" * 100_000 + b"\n---\ngrid: x\n", "YAML cannot hold"),
    "spaces": (lambda: b" " * 250_000, "got an empty file"),
    "comments": (lambda: b"# nothing\n" * 25_000, "got an empty file"),
    "NUL bytes": (lambda: b"grid: lab\0\n", "got a NUL byte"),
    "UTF-16": (lambda: "grid: lab\n".encode("utf-16"), "got UTF-16"),
    "a byte order mark": (lambda: b"\xef\xbb\xbfgrid: lab\n", "got a byte order mark"),
    "broken UTF-8": (lambda: "grid: l\u00e4b\n".encode("latin-1"), ":1:8: got the byte 0xe4, wanted UTF-8"),
    "an empty file": (lambda: b"", "got an empty file"),
    "random bytes": (lambda: os.urandom(100_000), ": got "),
}


def refusal(path: Path) -> dict[str, object]:
    command = (sys.executable, "-c", CHILD, str(path))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_file_is_refused_within_limits(
    tmp_path: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    content, said = HOSTILE[name]
    path = tmp_path / "grid.yaml"
    path.write_bytes(content())
    told = refusal(path)
    record_property("processor_s", told["took_s"])
    record_property("peak_bytes", told["peak_bytes"])
    assert isinstance(told["faults"], list)
    assert said in "\n".join(told["faults"])
    assert len(told["faults"]) <= 101
    assert isinstance(told["peak_bytes"], int)
    assert told["peak_bytes"] < MEMORY_BYTES


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    cases = {tmp_path: "got a folder", tmp_path / "none": "got no such file", pipe: "got a pipe or device"}
    cases[Path("/dev/zero")] = "got a pipe or device"
    for path, said in cases.items():
        assert said in str(refusal(path)["faults"])
