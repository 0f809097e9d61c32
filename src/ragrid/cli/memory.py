"""`ragrid memory`."""

import importlib
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import click
from rich.markup import escape

from ragrid.cli.administer import draw
from ragrid.cli.caller import Caller, caller_options, grid_of
from ragrid.cli.context import json_option
from ragrid.cli.memory_backup import backup
from ragrid.cli.memory_changes import changes, namespaces, restore
from ragrid.cli.memory_exchange import export, import_
from ragrid.cli.memory_options import (
    content_of,
    criteria_of,
    criteria_options,
    document_of,
    excerpt,
    members_of,
    namespace_option,
    show_memories,
    show_memory,
)
from ragrid.cli.talk import say, show
from ragrid.client.memory.models import Type
from ragrid.errors import UsageError


@click.group(
    epilog='\b\nExamples:\n  ragrid memory put "Ada drinks green tea" --user ada\n'
    '  ragrid memory search "what does Ada drink?"'
)
def command() -> None:
    """Keep and find structured memories."""


@command.command(
    epilog='\b\nExamples:\n  ragrid memory put "Ada drinks green tea at four" --user ada --tag drink\n'
    "  ragrid memory put --id plan --file plan.md --if-version 3 --json"
)
@click.argument("content", required=False)
@click.option("--file", type=click.Path(path_type=Path), help="Take the content from this file.")
@click.option("--id", "memory_id", help="A key of your own: made, or replaced. Without it, the service gives an id.")
@click.option("--if-version", type=click.IntRange(min=1), help="Replace this version and no other.")
@click.option("--new", "if_absent", is_flag=True, help="Only make it; refuse when there is one.")
@click.option("--type", type=click.Choice(get_args(Type)), help="Default: semantic.")
@click.option("--user", "user_id", help="Whom it is about.")
@click.option("--agent", "agent_id", help="Which agent keeps it.")
@click.option("--session", "session_id", help="Which conversation it is from.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be given several times.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="May be given several times.")
@click.option("--data", metavar="JSON", help="An object of any shape.")
@click.option("--importance", type=click.FloatRange(0, 1), help="0 to 1. Default: 0.5.")
@click.option("--ttl", metavar="DURATION", help="Forget it after this long, `24h` for example.")
@click.option("--pinned", is_flag=True, help="Do not let it expire.")
@namespace_option
@caller_options
@json_option
def put(
    content: str | None,
    *,
    file: Path | None,
    memory_id: str | None,
    if_version: int | None,
    if_absent: bool,
    namespace: str,
    caller: Caller,
    as_json: bool,
    **given: Any,
) -> None:
    """Keep CONTENT (`-`: standard input). It is durable once this command says so."""
    if memory_id is None and (if_version is not None or if_absent):
        raise UsageError("--if-version, --new: they are about the memory at --id, which is missing")
    text = content_of(content, file)
    members = members_of(given)
    with grid_of(caller, "writer") as grid:
        memories = grid.memories.within(namespace)
        if memory_id is None:
            kept = memories.create(text, **members)
        else:
            kept = memories.put(memory_id, text, if_version=if_version, if_absent=if_absent, **members)
    if as_json:
        show(document_of(kept))
        return
    click.echo(kept.id)
    say(f"[dim]kept as version {kept.version}[/dim]")


@command.command(epilog="\b\nExamples:\n  ragrid memory get tea\n  ragrid memory get tea -n demo --json | jq .version")
@click.argument("memory_id", metavar="ID")
@namespace_option
@caller_options
@json_option
def get(memory_id: str, namespace: str, *, caller: Caller, as_json: bool) -> None:
    """Show one memory as it is now."""
    with grid_of(caller, "reader") as grid:
        found = grid.memories.within(namespace).get(memory_id)
    if as_json:
        show(document_of(found))
    else:
        show_memory(found)


@command.command(
    name="list",
    epilog="\b\nExamples:\n  ragrid memory list --user ada --tag drink\n  ragrid memory list --limit 1000 --json",
)
@criteria_options
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1_000_000), help="The newest so many.")
@namespace_option
@caller_options
@json_option
def list_memories(
    limit: int, *, namespace: str, kind: Type | None, caller: Caller, as_json: bool, **given: Any
) -> None:
    """List memories, newest first."""
    with grid_of(caller, "reader") as grid:
        found = list(islice(grid.memories.within(namespace).list(**criteria_of(kind, **given)), limit + 1))
    if as_json:
        show({"memories": document_of(found[:limit]), "is_complete": len(found) <= limit})
        return
    show_memories(found[:limit])
    if len(found) > limit:
        say(f"[dim]there are more than these {limit}; give a larger --limit[/dim]")


@command.command(
    epilog='\b\nExamples:\n  ragrid memory search "when is tea?"\n'
    '  ragrid memory search "tea" --user ada -k 3 --json | jq .results'
)
@click.argument("query")
@click.option("-k", "count", default=10, show_default=True, type=click.IntRange(1, 100), help="How many at most.")
@criteria_options
@namespace_option
@caller_options
@json_option
def search(
    query: str, count: int, *, namespace: str, kind: Type | None, caller: Caller, as_json: bool, **given: Any
) -> None:
    """Find memories by what they say, best first."""
    with grid_of(caller, "reader") as grid:
        found = grid.memories.within(namespace).search(query, k=count, **criteria_of(kind, **given))
    if as_json:
        show(document_of(found))
        return
    draw(
        ("score", "id", "content"), [(f"{one.score:.2f}", one.memory.id, excerpt(one.memory)) for one in found.results]
    )
    degraded = f"; done without {', '.join(found.degraded)}" if found.degraded else ""
    say(f"[dim]{found.mode_used} search, {found.took_ms:.1f} ms{degraded}[/dim]")


@command.command(epilog="\b\nExamples:\n  ragrid memory history tea\n  ragrid memory history tea --json | jq .events")
@click.argument("memory_id", metavar="ID")
@namespace_option
@caller_options
@json_option
def history(memory_id: str, namespace: str, *, caller: Caller, as_json: bool) -> None:
    """Show every version of a memory, newest first, also of one that was deleted."""
    with grid_of(caller, "reader") as grid:
        events = list(grid.memories.within(namespace).history(memory_id))
    if as_json:
        show({"events": document_of(events)})
        return
    rows = [
        (str(one.version), one.op, f"{one.at:%Y-%m-%d %H:%M:%SZ}", one.actor, excerpt(one.memory) if one.memory else "")
        for one in events
    ]
    draw(("version", "what", "at", "by", "content"), rows)


@command.command(
    epilog="\b\nExamples:\n  ragrid memory delete tea\n  ragrid memory delete tea --if-version 2 --yes --json"
)
@click.argument("memory_id", metavar="ID")
@click.option("--if-version", type=click.IntRange(min=1), help="Delete this version and no other.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@namespace_option
@caller_options
@json_option
def delete(memory_id: str, namespace: str, *, if_version: int | None, yes: bool, caller: Caller, as_json: bool) -> None:
    """Delete a memory; its history stays."""
    if not yes:
        click.confirm(f"delete {memory_id}?", abort=True, err=True)
    with grid_of(caller, "writer") as grid:
        grid.memories.within(namespace).delete(memory_id, if_version=if_version)
    if as_json:
        show({"id": memory_id, "deleted": True})
    else:
        say(escape(f"{memory_id} is deleted; `ragrid memory history {memory_id}` still shows what it was"))


@command.command(
    epilog="\b\nExamples:\n  ragrid memory openapi > memory-openapi.json\n  ragrid memory openapi | jq '.paths|keys'"
)
@click.option("--json", "_as_json", is_flag=True, help="The description is JSON in any case.")
def openapi(_as_json: bool) -> None:
    """Print the description of the memory API (OpenAPI 3.1); no grid is needed."""
    # The service is half a second of imports, and no other verb needs it.
    show(importlib.import_module("ragrid.services.memory.api.document").document())


for verb in (restore, changes, namespaces, backup):
    command.add_command(verb)
command.add_command(export)
command.add_command(import_)
