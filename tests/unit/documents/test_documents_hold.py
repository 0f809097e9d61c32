"""What README and docs show is there: verbs and their options, links, tests, modules, files, make targets."""

import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from ragrid.cli.main import ragrid
from ragrid.spec.load import load_grid_text

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCED = re.compile(r"^(?P<fence>`{3,})[^\n]*\n(?P<code>.*?)^(?P=fence)[ ]*$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
#: A command as a reader would type it; what a shell would put after it ends it.
COMMAND = re.compile(
    r"(?:^|[`;|&(]|\$ ) *(?:\w+=\S* )*(?:\.venv/bin/)?ragrid (?P<words>[a-z][^`|;&<>)#\n]*)", re.MULTILINE
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)|!\[[^\]]*\]\((?P<image>[^)\s]+)\)")
FILE = re.compile(r"(?<![\w./…-])(?:src|tests|docs|scripts|examples|requirements)/[\w./-]*\w/?")
TEST = re.compile(r"(?:(?P<file>tests/[\w/]+\.py)::)?\b(?P<name>test_\w+)\b(?!\.py)")


def code_of(text: str) -> str:
    """Everything that is set as code, blocks and words, one a line."""
    blocks = [match["code"].replace("\\\n", " ") for match in FENCED.finditer(text)]
    return "\n".join([*blocks, *INLINE.findall(FENCED.sub("", text))])


def prose_of(text: str) -> str:
    return INLINE.sub("", FENCED.sub("", text))


def wrong_commands(code: str) -> Iterator[str]:
    """Yield what the command line does not know of the `ragrid …` commands in `code`."""
    for match in COMMAND.finditer(code):
        try:
            words = shlex.split(match["words"])
        except ValueError:  # a quote that is closed on another line
            words = match["words"].split()
        yield from (f"ragrid {match['words']!r}: {fault}" for fault in faults(words))
        if words[0] == "logs" and (wrong := set(words[1:]) - known_logs()):
            yield f"no log of {wrong}"


@cache
def known_logs() -> set[str]:
    """What `ragrid logs` may be given, and what stands for any of it."""
    rendered = (ROOT / "tests/golden/rendered").glob("local*/*/etc/programs/*.conf")
    others = {"consul", "postgresql", "supervisor", "access", "PART"}
    return {path.stem for path in rendered} | others


def faults(words: list[str]) -> Iterator[str]:
    command: click.Command = ragrid
    context = click.Context(command)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(context, words[0].rstrip(".,:"))
        if found is None:
            yield f"no verb {words[0]!r}"
            return
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h", "--version"}
    yield from (f"no option {word!r}" for word in words if word.startswith("-") and word.partition("=")[0] not in known)


def anchors(document: Path) -> set[str]:
    """The fragments that a hosting site makes of the headings."""
    headings = re.findall(r"^#+ +(.+)$", FENCED.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> Iterator[str]:
    for match in LINK.finditer(prose_of(document.read_text())):
        target, _, fragment = (match["target"] or match["image"]).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (document.parent / target).resolve() if target else document
        if not file.exists():
            yield target
        elif fragment and file.suffix == ".md" and fragment not in anchors(file):
            yield f"{target}#{fragment}"


@cache
def known_tests() -> dict[str, set[str]]:
    files = (ROOT / "tests").rglob("test_*.py")
    pattern = re.compile(r"^\s*(?:async )?def (test_\w+)", re.MULTILINE)
    return {str(file.relative_to(ROOT)): set(pattern.findall(file.read_text())) for file in files}


def missing_tests(text: str) -> Iterator[str]:
    known = known_tests()
    for match in TEST.finditer(text):
        names = known.get(match["file"], set()) if match["file"] else set().union(*known.values())
        if match["name"] not in names:
            yield match[0]


def named(document: Path) -> str:
    return str(document.relative_to(ROOT))


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=named)


@every_document
def test_every_command_that_is_shown_exists(document: Path) -> None:
    assert list(wrong_commands(code_of(document.read_text()))) == []


@every_document
def test_every_link_leads_somewhere(document: Path) -> None:
    assert list(broken_links(document)) == []


@every_document
def test_every_test_that_is_named_exists(document: Path) -> None:
    assert list(missing_tests(code_of(document.read_text()))) == []


@every_document
def test_every_file_module_and_target_that_is_named_exists(document: Path) -> None:
    code = code_of(document.read_text())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    modules = re.findall(r"python -m (ragrid(?:\.\w+)*)(?![.\w])", code)
    assert [path for path in FILE.findall(code) if not (ROOT / path).exists()] == []
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []
    assert [word for word in re.findall(r"^(?:\$ )?make ([a-z-]+)", code, re.MULTILINE) if word not in targets] == []


def test_security_and_readme_name_the_test_of_each_promise() -> None:
    for name in ("docs/security.md", "README.md"):
        assert len({match[0] for match in TEST.finditer((ROOT / name).read_text())}) >= 8


def test_each_promise_of_security_names_its_test() -> None:
    """Every row of its tables of promises; `test_every_test_that_is_named_exists` sees to the names."""
    _, _, promises = (ROOT / "docs/security.md").read_text().partition("## Promises")
    rows = [line for line in promises.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row != "| promise | test |"]
    assert len(rows) >= 40
    assert [row for row in rows if not any(match["file"] for match in TEST.finditer(row))] == []


def test_every_whole_grid_that_is_shown_is_a_good_one() -> None:
    blocks = [match["code"] for page in DOCUMENTS for match in FENCED.finditer(page.read_text())]
    grids = [code for code in blocks if code.startswith("grid:")]
    assert grids
    for code in grids:
        assert load_grid_text(code, "grid.yaml").grid.services is not None


def test_operations_say_what_to_do_when_each_part_is_down() -> None:
    _, _, section = (ROOT / "docs/operations.md").read_text().partition("## When a part is down")
    table = section.partition("\n## ")[0]
    rendered = {path.stem for path in (ROOT / "tests/golden/rendered").glob("local*/*/etc/programs/*.conf")}
    assert {"gateway", "vllm", "agent"} <= rendered
    missing = {part for part in {*rendered, "consul", "postgresql"} if f"\n| `{part}`" not in table}
    assert missing == set()


@pytest.mark.parametrize(
    "wrong", ["$ ragrid stauts", "ragrid status --jsn", "`ragrid token isue`", "ragrid up -x", "ragrid logs registry"]
)
def test_a_wrong_command_would_be_found(wrong: str) -> None:
    assert len(list(wrong_commands(wrong))) == 1


def test_a_wrong_link_or_test_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A head\n[a](#a-head) [b](none.md) [c](page.md#nowhere) `[d](none.md)`\n")
    assert list(broken_links(page)) == ["none.md", "page.md#nowhere"]
    assert len(list(missing_tests("tests/unit/documents/none.py::test_x test_no_such_thing"))) == 2
