"""What the verbs of `ragrid memory` share: options, what is read from them and from files, how a memory is shown."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import click
from msgspec import to_builtins

from ragrid.cli.administer import draw
from ragrid.client.memory.models import Criteria, Members, Memory, Scalar, Type
from ragrid.errors import UsageError
from ragrid.spec.values import Duration

F = TypeVar("F", bound=Callable[..., Any])

_SHOWN_CHARACTERS = 100


def namespace_option(command: F) -> F:
    """Add `--namespace`."""
    return click.option(
        "-n", "--namespace", default="default", show_default=True, help="Which of the tenant's namespaces."
    )(command)


def criteria_options(command: F) -> F:
    """Add the options that say which memories are meant."""
    for option in (
        click.option("--tag", "tags", multiple=True, help="With this tag; several: with all of them."),
        click.option("--session", "session_id", help="Of this session."),
        click.option("--agent", "agent_id", help="Of this agent."),
        click.option("--user", "user_id", help="Of this user."),
        click.option("--type", "kind", type=click.Choice(get_args(Type)), help="Of this type."),
    ):
        command = option(command)
    return command


def criteria_of(
    kind: Type | None, user_id: str | None, agent_id: str | None, session_id: str | None, tags: Sequence[str]
) -> Criteria:
    """Return what was asked for, without what was not."""
    given = {"type": kind, "user_id": user_id, "agent_id": agent_id, "session_id": session_id, "tags": tags or None}
    return cast("Criteria", {name: value for name, value in given.items() if value is not None})


def members_of(given: Mapping[str, Any]) -> Members:
    """Return the members that options set; `metadata`, `data` and `ttl` are read from text. Raises UsageError."""
    members: dict[str, Any] = {
        name: given[name]
        for name in ("type", "user_id", "agent_id", "session_id", "importance")
        if given.get(name) is not None
    }
    if given.get("tags"):
        members["tags"] = list(given["tags"])
    if given.get("metadata"):
        members["metadata"] = dict(_pair(text) for text in given["metadata"])
    if given.get("data") is not None:
        members["data"] = _object(given["data"])
    if given.get("ttl") is not None:
        members["ttl_seconds"] = _seconds(given["ttl"])
    if given.get("pinned"):
        members["pinned"] = True
    return cast("Members", members)


def content_of(argument: str | None, file: Path | None) -> str:
    """Return the content: the argument, standard input for `-`, or a file's text. Raises UsageError."""
    if (argument is None) == (file is None):
        raise UsageError("content: wanted either CONTENT (`-` reads standard input) or --file, and one of them")
    if file is None:
        return sys.stdin.read() if argument == "-" else str(argument)
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: byte {error.start} is not UTF-8; a memory holds text") from error


def document_of(memory: Any) -> Any:
    """Return a value of the client as plain JSON."""
    return to_builtins(memory)


def show_memory(memory: Memory) -> None:
    """Print one memory for people: its content, and before it whatever is not as everybody's."""
    about = {
        "id": memory.id,
        "version": memory.version,
        "type": memory.type,
        "user": memory.user_id,
        "agent": memory.agent_id,
        "session": memory.session_id,
        "tags": " ".join(memory.tags),
        "metadata": _json(memory.metadata),
        "data": _json(memory.data),
        "pinned": "yes" if memory.pinned else "",
        "expires": _time(memory.expires_at),
        "created": f"{_time(memory.created_at)} by {memory.created_by}",
        "updated": f"{_time(memory.updated_at)} by {memory.updated_by}" if memory.version > 1 else "",
    }
    for name, value in about.items():
        if value:
            click.echo(f"{name + ':':<10} {value}")
    click.echo()
    click.echo(memory.content)


def show_memories(memories: Sequence[Memory]) -> None:
    """Print memories for people, one a line."""
    rows = [(one.id, str(one.version), _time(one.updated_at), " ".join(one.tags), excerpt(one)) for one in memories]
    draw(("id", "version", "updated", "tags", "content"), rows)


def excerpt(memory: Memory) -> str:
    """Return the beginning of what a memory says, on one line."""
    text = " ".join(memory.content.split()) or _json(memory.data)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _time(at: datetime | None) -> str:
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%SZ")


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) if value else ""


def _pair(text: str) -> tuple[str, Scalar]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"--metadata {text!r}: wanted NAME=VALUE")
    read = _decoded(value)
    return name, read if read is None or isinstance(read, str | int | float | bool) else value


def _decoded(value: str) -> Any:
    """Return what `value` says in JSON when it is a number, true, false or null; any other text is itself."""
    try:
        return json.loads(value, parse_constant=_no_number)
    except ValueError:
        return value


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--data: {error}; wanted a JSON object such as '{{\"cups\": 2}}'") from error
    if not isinstance(found, dict):
        raise UsageError(f"--data: got {text[:50]!r}, wanted a JSON object such as '{{\"cups\": 2}}'")
    return found


def _seconds(text: str) -> int:
    try:
        seconds = Duration.parse(text).seconds
    except ValueError as error:
        raise UsageError(f"--ttl {text!r}: {error}") from error
    if seconds != int(seconds):
        raise UsageError(f"--ttl {text!r}: wanted whole seconds")
    return int(seconds)
