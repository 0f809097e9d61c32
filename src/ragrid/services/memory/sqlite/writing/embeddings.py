"""The outbox and the vectors, inside the writer's transaction."""

from collections.abc import Sequence

from ragrid.errors import RagridError
from ragrid.services.memory.changes import Version
from ragrid.services.memory.embedding.matrix import pack
from ragrid.services.memory.embedding.models import dimension_of, states_of
from ragrid.services.memory.embedding.sources import Turn, brought_number
from ragrid.services.memory.embedding.text import digest_of, embedding_text
from ragrid.services.memory.namespaces import Brought
from ragrid.services.memory.protocol.embeddings import Embedded, Refused
from ragrid.services.memory.sqlite.transaction import Transaction
from ragrid.services.memory.vectors import GivenVector

_ENQUEUE = "INSERT OR REPLACE INTO embedding_outbox VALUES (?, ?, ?, ?, ?, ?, 0, 0, NULL)"
_LEAVE = "DELETE FROM embedding_outbox WHERE position = ? AND model = ?"
_KEEP = "INSERT OR REPLACE INTO memory_vector (model, namespace, position, digest, vector) VALUES (?, ?, ?, ?, ?)"
_HELD = "SELECT 1 FROM memory_vector WHERE position = ? AND model = ?"
_OF_NAMESPACE = "DELETE FROM memory_vector WHERE namespace = ? AND model IN (SELECT number FROM embedding_model WHERE"
_DROP_MADE = f"{_OF_NAMESPACE} number > 0)"
_DROP_BROUGHT = f"{_OF_NAMESPACE} number < 0)"
# The digest of a line that `fill_outbox` made is empty: any text of the memory answers it.
_WAITING = "SELECT namespace FROM embedding_outbox WHERE position = ? AND model = ? AND digest IN (?, x'')"
_REFUSED = """
UPDATE embedding_outbox SET attempts = attempts + 1, next_us = ?, is_given_up = ?, reason = ?
WHERE position = ? AND model = ? AND digest IN (?, x'')
"""
# What a model lacks: live memories with neither a vector nor a place in the outbox.
_LACKING = """
INSERT INTO embedding_outbox
SELECT m.position, ?1, m.namespace, x'', ?2, ?2, 0, 0, NULL FROM memory AS m
WHERE m.is_deleted = 0
  AND NOT EXISTS (SELECT 1 FROM memory_vector AS v WHERE v.position = m.position AND v.model = ?1)
  AND NOT EXISTS (SELECT 1 FROM embedding_outbox AS o WHERE o.position = m.position AND o.model = ?1)
"""
_LACKING_BEHIND = f"""
{_LACKING} AND m.position > ?3 AND m.position <= ?4 AND m.namespace NOT IN (
  SELECT id FROM namespace WHERE CAST(settings AS TEXT) ->> '$.embedder' IN ('given', 'none')
)
"""  # noqa: S608 - our own words
_LACKING_IN = f"{_LACKING} AND m.namespace = ?3"
# Numbers from 0 down are those of brought vectors.
_ADD_MODEL = """
INSERT OR IGNORE INTO embedding_model (number, name, state)
SELECT max(0, coalesce(max(number), 0)) + 1, ?, 'filling' FROM embedding_model
"""
_DIMENSION = """
INSERT OR IGNORE INTO embedding_model (number, name, dimension, state)
VALUES (?1, 'brought by callers, ' || ?2, ?2, 'brought')
"""


def note_version(transaction: Transaction, namespace: int, version: Version) -> None:
    """Let outbox and vectors follow one version that was written; a text that did not change keeps its vectors."""
    position = version.position
    if version.memory is None:
        transaction.run("DELETE FROM memory_vector WHERE position = ?", (position,))
        transaction.run("DELETE FROM embedding_outbox WHERE position = ?", (position,))
        return
    given = version.embedding
    wanted = _wanted(transaction, namespace)
    if version.is_made and not wanted and given is None:
        return
    text = embedding_text(version.memory)
    digest = digest_of(text)
    if not version.is_made:
        transaction.run("DELETE FROM memory_vector WHERE position = ? AND digest <> ?", (position, digest))
    brought = None
    if given is not None:
        brought = _number_for(transaction, namespace, given, is_brought=version.is_brought)
        transaction.run(_KEEP, (brought, namespace, position, digest, pack(given.direction)))
        transaction.run(_LEAVE, (position, brought))
    for model in wanted:
        if model == brought:
            continue
        if not version.is_made:
            if transaction.run(_HELD, (position, model)).fetchall():
                continue
            transaction.run(_LEAVE, (position, model))
        if text:
            transaction.run(_ENQUEUE, (position, model, namespace, digest, version.at_us, version.at_us))


def follow_settings(transaction: Transaction, namespace: int, turn: Turn, now_us: int) -> None:
    """Let outbox and vectors follow a setting that was changed, all of them at once."""
    if not turn.keeps_made:
        transaction.run("DELETE FROM embedding_outbox WHERE namespace = ?", (namespace,))
        transaction.run(_DROP_MADE, (namespace,))
    if not turn.keeps_brought:
        transaction.run(_DROP_BROUGHT, (namespace,))
        transaction.put_brought(namespace, None)
    if turn.is_filled:
        for model in _wanted(transaction, namespace):
            transaction.run(_LACKING_IN, (model, now_us, namespace))


def use_models(transaction: Transaction, wanted: Sequence[str]) -> None:
    """See Embeddings."""
    transaction.forget_models()
    for name in wanted:
        transaction.run(_ADD_MODEL, (name,))
    before = {one.name: one.state for one in transaction.models()}
    for name, state in states_of(before, wanted).items():
        transaction.run("UPDATE embedding_model SET state = ? WHERE name = ?", (state, name))
    transaction.forget_models()
    idle = "SELECT number FROM embedding_model WHERE state NOT IN ('active', 'filling')"
    transaction.run(f"DELETE FROM embedding_outbox WHERE model IN ({idle})")  # noqa: S608 - our own words


def fill_outbox(transaction: Transaction, name: str, *, now_us: int, limit: int, after: int) -> int | None:
    """See Embeddings."""
    number, _ = _model(transaction, name)
    seen = "SELECT position FROM memory WHERE position > ? ORDER BY position LIMIT 1 OFFSET ?"
    found = transaction.run(seen, (after, limit - 1)).fetchall()
    last = found[0][0] if found else 2**62
    transaction.run(_LACKING_BEHIND, (number, now_us, after, last))
    return last if found else None


def store_vectors(transaction: Transaction, name: str, embedded: Sequence[Embedded]) -> None:
    """See Embeddings."""
    number, dimension = _model(transaction, name)
    made = dimension_of(name, embedded, dimension)
    if made != dimension:
        transaction.run("UPDATE embedding_model SET dimension = ? WHERE number = ?", (made, number))
        transaction.forget_models()
    for one in embedded:
        waiting = transaction.run(_WAITING, (one.position, number, one.digest)).fetchall()
        if waiting and one.vector is not None:
            transaction.run(_KEEP, (number, waiting[0][0], one.position, one.digest, pack(one.vector)))
        if waiting:
            transaction.run(_LEAVE, (one.position, number))


def note_refusals(transaction: Transaction, name: str, refused: Sequence[Refused]) -> None:
    """See Embeddings."""
    number, _ = _model(transaction, name)
    for one in refused:
        row = (one.retry_us or 0, one.retry_us is None, one.reason[:500], one.position, number, one.digest)
        transaction.run(_REFUSED, row)


def retry_refused(transaction: Transaction, name: str, *, tenant: str | None, now_us: int) -> int:
    """See Embeddings."""
    number, _ = _model(transaction, name)
    of_tenant = "" if tenant is None else " AND namespace IN (SELECT id FROM namespace WHERE tenant = ?)"
    sql = f"""
        UPDATE embedding_outbox SET attempts = 0, is_given_up = 0, next_us = ?
        WHERE model = ? AND is_given_up = 1{of_tenant} RETURNING position
    """  # noqa: S608 - our own words
    return len(transaction.run(sql, (now_us, number, *(() if tenant is None else (tenant,)))).fetchall())


def switch_model(transaction: Transaction, name: str) -> bool:
    """See Embeddings."""
    number, _ = _model(transaction, name)
    state = transaction.run("SELECT state FROM embedding_model WHERE number = ?", (number,)).fetchall()[0][0]
    waiting = "SELECT 1 FROM embedding_outbox WHERE model = ? AND is_given_up = 0 LIMIT 1"
    if state != "filling" or transaction.run(waiting, (number,)).fetchall():
        return bool(state == "active")
    transaction.forget_models()
    before = transaction.run("SELECT number FROM embedding_model WHERE state = 'active'").fetchall()
    for (old,) in before:
        transaction.run("UPDATE embedding_model SET state = 'replaced' WHERE number = ?", (old,))
        transaction.run("DELETE FROM embedding_outbox WHERE model = ?", (old,))
    transaction.run("UPDATE embedding_model SET state = 'active' WHERE number = ?", (number,))
    return True


def drop_vectors(transaction: Transaction, *, limit: int) -> bool:
    """See Embeddings."""
    dropped = transaction.run("SELECT number FROM embedding_model WHERE state = 'dropped' LIMIT 1").fetchall()
    if not dropped:
        return False
    number = dropped[0][0]
    some = "SELECT stamp FROM memory_vector WHERE model = ? LIMIT ?"
    delete = f"DELETE FROM memory_vector WHERE stamp IN ({some}) RETURNING stamp"  # noqa: S608 - our own words
    gone = transaction.run(delete, (number, limit))
    if len(gone.fetchall()) < limit:
        transaction.run("DELETE FROM embedding_model WHERE number = ?", (number,))
        transaction.forget_models()
    return True


def _number_for(transaction: Transaction, namespace: int, given: GivenVector, *, is_brought: bool) -> int:
    """Return the number of a vector that a caller brought; a namespace's first one names its model."""
    if not is_brought:
        return _model(transaction, given.model)[0]
    dimension = len(given.values)
    number = brought_number(dimension)
    if transaction.room(namespace).brought is None:
        transaction.run(_DIMENSION, (number, dimension))
        transaction.put_brought(namespace, Brought(given.model, dimension))
    return number


def _wanted(transaction: Transaction, namespace: int) -> tuple[int, ...]:
    """Return the numbers of the models that want a vector of each text of a namespace."""
    if transaction.room(namespace).settings.embedder != "grid":
        return ()
    return tuple(one.number for one in transaction.models() if one.state in {"active", "filling"})


def _model(transaction: Transaction, name: str) -> tuple[int, int | None]:
    found = next((one for one in transaction.models() if one.name == name), None)
    if found is None:
        raise RagridError(f"no model {name!r} in the store; it was taken out of the settings")
    return found.number, found.dimension
