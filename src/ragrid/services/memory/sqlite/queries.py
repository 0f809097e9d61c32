"""The statements behind list, search and history. Pure: each function returns SQL and its parameters."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.namespaces import Brought, Namespace, NamespaceSettings, Room
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.sqlite.where import where

_decode_settings = msgspec.json.Decoder(NamespaceSettings).decode

Statement = tuple[str, tuple[Any, ...]]

READ = """
SELECT version, doc FROM memory
WHERE namespace = ? AND id = ? AND is_deleted = 0 AND (expires_us IS NULL OR expires_us > ?)
"""
LAST_STATE = "SELECT expires_us, is_erased FROM memory WHERE namespace = ? AND id = ?"


def list_statement(namespace: int, wanted: Filter, *, now_us: int, limit: int, before: int | None) -> Statement:
    """Return the statement for one page, newest first, with `(position, doc)` in each row.

    With tags, the page is walked along the index of the first one, which has the same order.
    """
    conditions, parameters = conditions_of(namespace, wanted, now_us)
    tables, order = "memory AS m", "m.position"
    if wanted.tags:
        first, *others = wanted.tags
        joins, tag_parameters = tag_joins(namespace, others)
        tables = f"memory_tag AS t CROSS JOIN memory AS m ON m.position = t.position{joins}"
        conditions = ["t.namespace = ?", "t.tag = ?", *conditions]
        parameters = [*tag_parameters, namespace, first, *parameters]
        order = "t.position"
    if before is not None:
        conditions.append(f"{order} < ?")
        parameters.append(before)
    # Every word of it is ours; what a caller sent is among the parameters.
    sql = f"SELECT m.position, m.doc FROM {tables} WHERE {' AND '.join(conditions)} ORDER BY {order} DESC LIMIT ?"  # noqa: S608 - see above
    return sql, (*parameters, limit)


def seen_statement(
    namespace: int, positions: list[int], wanted: Filter, *, columns: str, now_us: int, include_superseded: bool
) -> Statement:
    """Return the statement for those of `positions` that may be seen and lie within the filter."""
    conditions, parameters = conditions_of(namespace, wanted, now_us, include_superseded=include_superseded)
    joins, tag_parameters = tag_joins(namespace, wanted.tags)
    sql = f"""
        SELECT {columns} FROM json_each(?) AS c CROSS JOIN memory AS m ON m.position = c.value{joins}
        WHERE {" AND ".join(conditions)}
    """  # noqa: S608 - only our own words
    return sql, (msgspec.json.encode(positions).decode(), *tag_parameters, *parameters)


def history_statement(namespace: int, memory_id: str, *, limit: int, before: int | None) -> Statement:
    """Return the statement for the events of one memory, newest first."""
    sql = """
        SELECT seq, version, op, actor, at_us, doc FROM memory_version
        WHERE namespace = ? AND id = ? AND seq < ? ORDER BY seq DESC LIMIT ?
    """
    return sql, (namespace, memory_id, before if before is not None else 2**62, limit)


def past_statement(namespace: int, memory_id: str, *, version: int | None, as_of_us: int | None) -> Statement:
    """Return the statement for `(version, doc)` of one version, by its number or by the time it was current."""
    condition, value = ("at_us <= ?", as_of_us) if version is None else ("version = ?", version)
    sql = f"""
        SELECT version, doc FROM memory_version
        WHERE namespace = ? AND id = ? AND {condition} ORDER BY seq DESC LIMIT 1
    """  # noqa: S608 - only our own words
    return sql, (namespace, memory_id, value)


PAST_DOCUMENTS = """
SELECT e.version, e.doc FROM memory AS m JOIN memory_version AS e ON e.seq = (
  SELECT x.seq FROM memory_event AS x WHERE x.namespace = m.namespace AND x.id = m.id AND x.at_us <= ?
  ORDER BY x.seq DESC LIMIT 1
)
WHERE m.namespace = ? AND m.is_erased = 0 AND (m.expires_us IS NULL OR m.expires_us > ?) AND e.doc IS NOT NULL
LIMIT ?
"""


def count_statement(namespace: int, wanted: Filter, *, now_us: int) -> Statement:
    """Return the statement that counts what a filter matches."""
    tables, conditions, parameters = _matching(namespace, wanted, now_us)
    return f"SELECT count(*) FROM {tables} WHERE {conditions}", parameters  # noqa: S608 - only our own words


def chosen_statement(namespace: int, wanted: Filter, *, now_us: int, up_to_seq: int, limit: int) -> Statement:
    """Return the statement for `(id, version)` of what a filter matches and `up_to_seq` had seen."""
    tables, conditions, parameters = _matching(namespace, wanted, now_us)
    sql = f"SELECT m.id, m.version FROM {tables} WHERE {conditions} AND m.seq <= ? ORDER BY m.position LIMIT ?"  # noqa: S608 - see above
    return sql, (*parameters, up_to_seq, limit)


def _matching(namespace: int, wanted: Filter, now_us: int) -> tuple[str, str, tuple[Any, ...]]:
    conditions, parameters = conditions_of(namespace, wanted, now_us)
    joins, tag_parameters = tag_joins(namespace, wanted.tags)
    return f"memory AS m{joins}", " AND ".join(conditions), (*tag_parameters, *parameters)


#: What `room_of` reads, in its order; and `namespace_of`.
ROOM_COLUMNS = "settings, rows, size_bytes, brought_model, brought_dimension"
NAMESPACE_COLUMNS = f"name, id, version, created_us, updated_us, updated_by, {ROOM_COLUMNS}"
_NAMESPACE = f"SELECT {NAMESPACE_COLUMNS} FROM namespace"  # noqa: S608 - our own words
USAGE = """
SELECT count(*), coalesce(sum(rows), 0), coalesce(sum(size_bytes), 0) FROM namespace WHERE tenant = ? AND is_gone = 0
"""


def namespace_statement(scope: Scope) -> Statement:
    """Return the statement for the row of one namespace; `namespace_of` reads it."""
    return f"{_NAMESPACE} WHERE tenant = ? AND name = ?", (scope.tenant, scope.namespace)


def namespaces_statement(tenant: str, *, limit: int, before: int | None) -> Statement:
    """Return the statement for the namespaces of a tenant, newest first; `namespace_of` reads each row."""
    sql = f"{_NAMESPACE} WHERE tenant = ? AND is_gone = 0 AND id < ? ORDER BY id DESC LIMIT ?"
    return sql, (tenant, before if before is not None else 2**62, limit)


def namespace_of(row: Sequence[Any]) -> Namespace:
    """Return the namespace in a row."""
    name, number, version, created_us, updated_us, updated_by, *room = row
    return Namespace(name, number, room_of(room), version, created_us, updated_us, updated_by)


def room_of(row: Sequence[Any]) -> Room:
    """Return the settings of a namespace, and what is in it."""
    settings, rows, size_bytes, model, dimension = row
    brought = None if model is None else Brought(model, dimension)
    return Room(_decode_settings(settings or b"{}"), rows, size_bytes, brought)


def conditions_of(
    namespace: int, wanted: Filter, now_us: int, *, include_superseded: bool = True
) -> tuple[list[str], list[Any]]:
    """Return what a row of `memory AS m` must meet to be seen, save its tags, and the parameters."""
    conditions = ["m.namespace = ?", "m.is_deleted = 0", "(m.expires_us IS NULL OR m.expires_us > ?)"]
    parameters: list[Any] = [namespace, now_us]
    if not include_superseded:
        conditions.append("m.superseded_by IS NULL")
    for column in ("type", "user_id", "agent_id", "session_id"):
        value = getattr(wanted, column)
        if value is not None:
            conditions.append(f"m.{column} = ?")
            parameters.append(value)
    if wanted.where is not None:
        sql, values = where(wanted.where)
        conditions.append(sql)
        parameters += values
    return conditions, parameters


def tag_joins(namespace: int, tags: Sequence[str]) -> tuple[str, list[Any]]:
    """Return the joins that keep only what carries every tag."""
    joins = "".join(
        f" CROSS JOIN memory_tag AS t{n} ON t{n}.namespace = ? AND t{n}.tag = ? AND t{n}.position = m.position"
        for n in range(len(tags))
    )
    return joins, [value for tag in tags for value in (namespace, tag)]
