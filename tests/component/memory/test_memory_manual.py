"""Every example of docs/memory.md, typed in its order into a shell against real services, and what it says comes back.

A command is a line that begins with `$ `, with the lines that its quotes or backslashes lead to; what follows is its
output, in which `…` stands for anything, and a line break for what a narrow page needs. Times, request ids and numbers
that count everything the store ever did are any. Who waits for changes waits a second here.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from support.memory_process import MemoryProcess
from support.registry_servers import free_ports
from support.tool_client import tools_of

MANUAL = Path(__file__).parents[3] / "docs" / "memory.md"
#: What a reader has set up before the tour.
PRELUDE = """\
set -u -o pipefail
curl() {{ command curl --silent --show-error --max-time {limit_s} -H "Authorization: Bearer $TOKEN" "$@"; }}
ragrid() {{ command ragrid "$@" --address "$GRID"; }}
B="$GRID/memory/v1"; M="$B/memories"; S="$B/sessions"
"""
_BLOCK = re.compile(r"^```(console|python|json)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: What differs from run to run, as it is written in the manual and as a pattern.
_ANY = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", r"\d{4}-\d\d-\d\dT[0-9:.]+Z"),
    (r"\b[0-9a-f]{32}\b", "[0-9a-f]{32}"),
    (r"(?<=took_ms\":)[0-9.]+", "[0-9.e-]+"),
    (r"(?<=seq\":)[0-9]+", "[0-9]+"),
    ("…", ".*?"),
    (r"\s*\n\s*", r"\s*"),
)


@dataclass(frozen=True)
class Example:
    """One command and what the manual says that it prints."""

    line: int
    command: str
    output: str


def examples() -> Iterator[Example]:
    """Yield every command of the manual in its order."""
    text = MANUAL.read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        if block[1] == "console":
            yield from _commands(block[2], text.count("\n", 0, block.start(2)) + 1)


def _commands(block: str, first_line: int) -> Iterator[Example]:
    lines = block.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        whole = next(stop for stop in range(start + 1, end + 1) if _is_whole("\n".join(lines[start:stop])))
        command = "\n".join(lines[start:whole]).removeprefix("$ ")
        yield Example(first_line + start, command, "\n".join(lines[whole:end]).strip())


def _is_whole(command: str) -> bool:
    return not command.endswith("\\") and command.count("'") % 2 == 0


def pattern_of(output: str) -> re.Pattern[str]:
    """Return what the output of a command must be."""
    found: list[tuple[int, int, str]] = []
    for written, meant in _ANY:
        for match in re.finditer(written, output):
            if all(match.end() <= start or stop <= match.start() for start, stop, _ in found):
                found.append((match.start(), match.end(), meant))
    expression, position = "", 0
    for start, stop, meant in sorted(found):
        expression += re.escape(output[position:start]) + meant
        position = stop
    return re.compile(expression + re.escape(output[position:]), re.DOTALL)


@pytest.fixture
def other(tmp_path: Path, service: MemoryProcess) -> Iterator[MemoryProcess]:
    """Another grid's memory, which takes the same tokens."""
    folder = tmp_path / "other"
    folder.mkdir()
    one = MemoryProcess(folder, free_ports(1)[0])
    one.mint = service.mint
    (folder / "jwks.json").write_bytes(service.mint.jwks)
    one.start()
    yield one
    one.kill()


def test_every_example_prints_what_the_manual_says(
    service: MemoryProcess, other: MemoryProcess, tmp_path: Path
) -> None:
    scope = "memory:read memory:write memory:admin"
    token = service.mint.token(sub="alice", scope=scope, exp=int(time.time()) + 3600)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GRID": service.url,
        "OTHER": f"{other.url}/memory/v1",
        "TOKEN": token,
        "RAGRID_TOKEN": token,
        "NO_COLOR": "1",
    }
    every = list(examples())
    assert len(every) > 10
    for example in every:
        prelude = PRELUDE.format(limit_s=1 if "/stream" in example.command else 30)
        command = re.sub("wait_seconds=[0-9]+", "wait_seconds=1", example.command)
        done = subprocess.run(
            ("bash", "-c", prelude + command),
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = f"docs/memory.md:{example.line}: {example.command}\n{done.stdout}\n{done.stderr}"
        _compare(example.output, done.stdout, said)


def _compare(wanted: str, output: str, said: str) -> None:
    head, body = "", output.replace("\r\n", "\n").strip()
    if wanted.startswith("HTTP/"):
        head, _, body = body.partition("\n\n")
        wanted_head, _, wanted = wanted.partition("\n\n")
        missing = [line for line in wanted_head.splitlines() if line.strip() not in head.splitlines()]
        assert missing == [], said
    if not wanted:
        assert '"type":"urn:ragrid:problem:' not in body, said
        return
    assert pattern_of(wanted).fullmatch(body), f"{said}\nwanted:\n{wanted}"


def test_every_program_runs(service: MemoryProcess) -> None:
    token = service.mint.token(sub="alice", exp=int(time.time()) + 3600)
    programs = [block[2] for block in _BLOCK.finditer(MANUAL.read_text(encoding="utf-8")) if block[1] == "python"]
    assert programs
    for program in programs:
        exec(compile(program.replace("https://HOST", service.url), str(MANUAL), "exec"), {"TOKEN": token})  # noqa: S102 - our own manual


async def test_every_document_does_what_it_is_for(service: MemoryProcess) -> None:
    """Each is the filter of a search, or what a client of tools is set up with."""
    token = service.mint.token(sub="alice", exp=int(time.time()) + 3600)
    documents = [block[2] for block in _BLOCK.finditer(MANUAL.read_text(encoding="utf-8")) if block[1] == "json"]
    assert len(documents) > 1
    for text in documents:
        document = json.loads(text.replace("https://HOST", service.url).replace("TOKEN", token))
        if "mcpServers" in document:
            server = document["mcpServers"]["memory"]
            bearer = server["headers"]["Authorization"].removeprefix("Bearer ")
            async with tools_of(server["url"].removesuffix("/mcp"), bearer) as tools:
                assert "remember" in await tools.names()
            continue
        body = {"query": "tea", "filter": document}
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=service.url, timeout=60.0) as client:
            answer = await client.post("/memory/v1/memories/search", json=body, headers=headers)
        assert answer.status_code == 200, f"{text}\n{answer.text}"
