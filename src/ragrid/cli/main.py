"""`ragrid`: the command, its verbs, and the one place where errors become lines and exit codes."""

import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from ragrid.errors import RagridError

#: Verb -> one line for `--help`. A verb's module is imported only when it is used: `ragrid --help` stays quick.
VERBS = {
    "up": "Run a grid on this machine.",
    "down": "Stop a grid; its data stays.",
    "status": "Show every part: state, health, address, version, monitoring.",
    "doctor": "Examine this machine, with the fix for each finding.",
    "logs": "Show the log of a part.",
    "ingest": "Put files and folders into the grid's documents.",
    "ask": "Ask a question; the answer cites its sources.",
    "memory": "Keep and find structured memories.",
    "token": "Issue, inspect and revoke access tokens.",
    "login": "Sign in as a person, by a page in a browser.",
    "user": "Add, list and disable people; set passwords.",
    "client": "Make, list and delete OAuth clients.",
    "role": "Show what each role allows.",
    "key": "List, rotate and withdraw signing keys.",
    "audit": "Read the log of tokens, refusals and changes.",
    "render": "Write every generated file of a grid to a folder.",
    "bench": "Measure a grid; prints JSON.",
    "config": "Show each value of a grid and where it came from.",
    "schema": "Print the JSON Schema of grid.yaml.",
    "version": "Print the version.",
}
EPILOG = """\b
Examples:
  ragrid up examples/local.yaml
  ragrid ask "How do I restart the gateway?"

\b
Exit codes: 0 done, 1 failed, 2 usage, 3 bad grid file, 4 stale plan or held lock,
5 unreachable, 6 partly done, 130 interrupted."""


class _Verbs(click.Group):
    """Loads verbs lazily and names the nearest known one for a wrong word."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"ragrid.cli.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1, cutoff=0.4)
            meant = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(VERBS)}"
            ctx.fail(f"unknown verb {args[0]!r}; {meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ragrid", message="%(prog)s %(version)s")
def ragrid() -> None:
    """Run a private RAG platform on your own servers: one file declares it, one command runs it."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and exit with its code; every expected error is one line on standard error, never a traceback."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    try:
        result: Any = ragrid.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; run the same command again to go on", err=True)
        return 130
    except RagridError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        return error.exit_code
    except BrokenPipeError:
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {where}{error.strerror or error}; look at the path, its owner and the disk", err=True)
        return 1
    return result if isinstance(result, int) else 0
