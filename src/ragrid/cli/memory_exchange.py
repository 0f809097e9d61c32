"""`ragrid memory export` and `import`."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import click
from msgspec import to_builtins

from ragrid.cli.caller import Caller, caller_options, grid_of
from ragrid.cli.context import json_option
from ragrid.cli.memory_options import namespace_option
from ragrid.cli.talk import say, show
from ragrid.client.memory.exchange import Imported
from ragrid.errors import PARTLY_DONE, UsageError
from ragrid.system.files import PRIVATE, sync_directory

_SHOWN_FAULTS = 20

everything_option = click.option("--all", "everything", is_flag=True, help="Every namespace of the tenant.")


@click.command(
    epilog="\b\nExamples:\n  ragrid memory export memory.ndjson --all\n"
    "  ragrid memory export -n demo | jq .memory.content"
)
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@everything_option
@namespace_option
@caller_options
@json_option
def export(file: Path | None, *, everything: bool, namespace: str, caller: Caller, as_json: bool) -> None:
    """Write all memories, their histories and the sessions to FILE (standard output without one), as they are now.

    FILE is written under another name first and is there only when the export is whole.
    """
    if as_json and file is None:
        raise UsageError("--json: standard output is for the export; name a FILE")
    with grid_of(caller, "reader") as grid:
        lines = grid.memories.within(namespace).export(everything=everything)
        count = _to_output(lines, sys.stdout.buffer) if file is None else _to_file(lines, file)
    if as_json:
        show({"file": str(file), "lines": count})
    else:
        say(f"[dim]{count} lines[/dim]")


@click.command(
    name="import",
    epilog="\b\nExamples:\n  ragrid memory import memory.ndjson --all\n  ragrid memory import - -n copy < demo.ndjson",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@everything_option
@namespace_option
@caller_options
@json_option
def import_(file: Path, *, everything: bool, namespace: str, caller: Caller, as_json: bool) -> int:
    """Take over the lines of an export (`-`: standard input); what is there already stays, so it may be done again.

    It goes to one namespace, or with --all each line where it says. Lines with faults are named and left out; then, and
    where the export was cut off, the exit code is 6.
    """
    with _opened(file) as source, grid_of(caller, "admin") as grid:
        done = grid.memories.within(namespace).take(source, everything=everything)
    if as_json:
        show(to_builtins(done))
    else:
        _report(done)
    if done.is_complete and not done.faulty:
        return 0
    return PARTLY_DONE if done.imported or done.unchanged else 1


def _opened(file: Path) -> BinaryIO:
    if str(file) == "-":
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    try:
        return file.open("rb")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error


def _to_output(lines: Iterable[bytes], output: BinaryIO) -> int:
    count = 0
    for line in lines:
        output.write(line + b"\n")
        count += 1
    output.flush()
    return count


def _to_file(lines: Iterator[bytes], file: Path) -> int:
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with open(partial, "xb", opener=_private) as output:
            count = _to_output(lines, output)
            os.fsync(output.fileno())
        partial.replace(file)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(file.absolute().parent)
    return count


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE)


def _report(done: Imported) -> None:
    for fault in done.faults[:_SHOWN_FAULTS]:
        click.echo(f"line {fault.line}: {fault.pointer or 'the line'}: {fault.detail}", err=True)
    if len(done.faults) > _SHOWN_FAULTS or done.faulty > len(done.faults):
        click.echo("…", err=True)
    say(f"{done.imported} imported, {done.unchanged} there already, {done.faulty} with faults")
    if not done.is_complete:
        say("[yellow]the file's last line is missing or does not fit: the export may have been cut off[/yellow]")
