"""`ragrid memory restore`, `changes` and `namespaces`."""

import json
from itertools import islice

import click

from ragrid.cli.administer import draw
from ragrid.cli.caller import Caller, caller_options, grid_of
from ragrid.cli.context import json_option
from ragrid.cli.memory_options import document_of, excerpt, namespace_option
from ragrid.cli.talk import say, show
from ragrid.client.memory.exchange import MemoryChange
from ragrid.client.memory.keeping import Namespace


@click.command(
    epilog="\b\nExamples:\n  ragrid memory restore tea\n  ragrid memory restore tea --version 2 --if-version 5 --json"
)
@click.argument("memory_id", metavar="ID")
@click.option("--version", type=click.IntRange(min=1), help="Which one; the one before the current, without it.")
@click.option("--if-version", type=click.IntRange(min=1), help="Only while this is the current version.")
@namespace_option
@caller_options
@json_option
def restore(
    memory_id: str, namespace: str, *, version: int | None, if_version: int | None, caller: Caller, as_json: bool
) -> None:
    """Make an earlier version of a memory the current one again, also after a delete."""
    with grid_of(caller, "writer") as grid:
        restored = grid.memories.within(namespace).restore(memory_id, version, if_version=if_version)
    if as_json:
        show(document_of(restored))
    else:
        say(f"[dim]restored as version {restored.version}[/dim]")


@click.command(
    epilog="\b\nExamples:\n  ragrid memory changes --since 1200 --json\n  ragrid memory changes --follow | grep delete"
)
@click.option("--since", default=0, show_default=True, type=click.IntRange(min=0), help="Those after this `seq`.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 1_000_000), help="At most so many.")
@click.option("--follow", is_flag=True, help="Wait for the next ones, until Ctrl-C; with --json one object a line.")
@namespace_option
@caller_options
@json_option
def changes(since: int, *, limit: int, follow: bool, namespace: str, caller: Caller, as_json: bool) -> None:
    """Show what was made, changed and deleted in a namespace, in the order in which it was."""
    with grid_of(caller, "reader") as grid:
        found = grid.memories.within(namespace).changes(since, follow=follow)
        if follow:
            for one in found:
                click.echo(json.dumps(document_of(one), ensure_ascii=False) if as_json else "  ".join(_told(one)))
        shown = list(islice(found, limit))
    if as_json:
        show({"changes": document_of(shown), "next_since": shown[-1].seq if shown else since})
    else:
        draw(("seq", "what", "at", "by", "id", "content"), [_told(one) for one in shown])


@click.command(epilog="\b\nExamples:\n  ragrid memory namespaces\n  ragrid memory namespaces --json")
@caller_options
@json_option
def namespaces(*, caller: Caller, as_json: bool) -> None:
    """List the tenant's namespaces, what is in each and how it is set."""
    with grid_of(caller, "reader") as grid:
        found = list(grid.memories.namespaces.list())
    if as_json:
        show({"namespaces": document_of(found)})
    else:
        rows = [(one.name, str(one.memories), str(one.bytes), _settings(one)) for one in found]
        draw(("namespace", "memories", "bytes", "settings"), rows)


def _told(one: MemoryChange) -> tuple[str, ...]:
    content = excerpt(one.memory) if one.memory else ""
    return str(one.seq), one.op, f"{one.at:%Y-%m-%d %H:%M:%SZ}", one.actor, f"{one.id} v{one.version}", content


def _settings(one: Namespace) -> str:
    told = {
        "quota_rows": one.quota_rows,
        "quota_bytes": one.quota_bytes,
        "default_ttl_seconds": one.default_ttl_seconds,
        "on_duplicate": None if one.on_duplicate == "keep" else one.on_duplicate,
        "require_if_match": one.require_if_match or None,
        "embedder": None if one.embedder == "grid" else one.embedder,
        "brought_model": one.brought_model,
    }
    return " ".join(f"{name}={value}" for name, value in told.items() if value is not None)
