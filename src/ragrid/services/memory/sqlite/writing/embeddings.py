"""The outbox and the vectors, inside the writer's transaction."""

from collections.abc import Sequence

from ragrid.errors import RagridError
from ragrid.services.memory.changes import Version
from ragrid.services.memory.embedding.matrix import pack
from ragrid.services.memory.embedding.models import dimension_of, states_of
from ragrid.services.memory.embedding.text import digest_of, embedding_text
from ragrid.services.memory.protocol.embeddings import Embedded, Refused
from ragrid.services.memory.sqlite.transaction import Transaction
from ragrid.services.memory.vectors import GivenVector

_MODELS = "SELECT number FROM embedding_model WHERE state IN ('active', 'filling')"
_MODEL = "SELECT number, dimension FROM embedding_model WHERE name = ?"
_ENQUEUE = "INSERT OR REPLACE INTO embedding_outbox VALUES (?, ?, ?, ?, ?, ?, 0, 0, NULL)"
_LEAVE = "DELETE FROM embedding_outbox WHERE position = ? AND model = ?"
_KEEP = "INSERT OR REPLACE INTO memory_vector (model, namespace, position, digest, vector) VALUES (?, ?, ?, ?, ?)"
_HELD = "SELECT digest FROM memory_vector WHERE position = ? AND model = ?"
# The digest of a line that `fill_outbox` made is empty: any text of the memory answers it.
_WAITING = "SELECT namespace FROM embedding_outbox WHERE position = ? AND model = ? AND digest IN (?, x'')"
_REFUSED = """
UPDATE embedding_outbox SET attempts = attempts + 1, next_us = ?, is_given_up = ?, reason = ?
WHERE position = ? AND model = ? AND digest IN (?, x'')
"""
# What a model lacks behind a position: live memories with neither a vector nor a place in the outbox.
_LACKING = """
INSERT INTO embedding_outbox
SELECT m.position, ?1, m.namespace, x'', ?2, ?2, 0, 0, NULL FROM memory AS m
WHERE m.position > ?3 AND m.position <= ?4 AND m.is_deleted = 0
  AND NOT EXISTS (SELECT 1 FROM memory_vector AS v WHERE v.position = m.position AND v.model = ?1)
  AND NOT EXISTS (SELECT 1 FROM embedding_outbox AS o WHERE o.position = m.position AND o.model = ?1)
"""


def note_version(transaction: Transaction, namespace: int, version: Version) -> None:
    """Let outbox and vectors follow one version that was written; a text that did not change keeps its vectors."""
    position = version.position
    if version.memory is None:
        transaction.run("DELETE FROM memory_vector WHERE position = ?", (position,))
        transaction.run("DELETE FROM embedding_outbox WHERE position = ?", (position,))
        return
    given = version.embedding
    brought = None if given is None else _model_brought(transaction, given)
    models = _wanted(transaction)
    if not models and brought is None:
        if not version.is_made:
            _forget_other_texts(transaction, version.position, digest_of(embedding_text(version.memory)))
        return
    text = embedding_text(version.memory)
    digest = digest_of(text)
    if given is not None and brought is not None:
        transaction.run(_KEEP, (brought, namespace, position, digest, pack(given.direction)))
        transaction.run(_LEAVE, (position, brought))
    for model in models:
        if model == brought:
            continue
        if not version.is_made:
            if _has_vector(transaction, position, model, digest):
                continue
            transaction.run("DELETE FROM memory_vector WHERE position = ? AND model = ?", (position, model))
            transaction.run(_LEAVE, (position, model))
        if text:
            transaction.run(_ENQUEUE, (position, model, namespace, digest, version.at_us, version.at_us))


def use_models(transaction: Transaction, wanted: Sequence[str]) -> None:
    """See Embeddings."""
    transaction.models = None
    for name in wanted:
        transaction.run("INSERT OR IGNORE INTO embedding_model (name, state) VALUES (?, 'filling')", (name,))
    before = dict(transaction.run("SELECT name, state FROM embedding_model").fetchall())
    for name, state in states_of(before, wanted).items():
        transaction.run("UPDATE embedding_model SET state = ? WHERE name = ?", (state, name))
    idle = "SELECT number FROM embedding_model WHERE state NOT IN ('active', 'filling')"
    transaction.run(f"DELETE FROM embedding_outbox WHERE model IN ({idle})")  # noqa: S608 - our own words


def fill_outbox(transaction: Transaction, name: str, *, now_us: int, limit: int, after: int) -> int | None:
    """See Embeddings."""
    number, _ = _model(transaction, name)
    seen = "SELECT position FROM memory WHERE position > ? ORDER BY position LIMIT 1 OFFSET ?"
    found = transaction.run(seen, (after, limit - 1)).fetchall()
    last = found[0][0] if found else 2**62
    transaction.run(_LACKING, (number, now_us, after, last))
    return last if found else None


def store_vectors(transaction: Transaction, name: str, embedded: Sequence[Embedded]) -> None:
    """See Embeddings."""
    number, dimension = _model(transaction, name)
    made = dimension_of(name, embedded, dimension)
    if made != dimension:
        transaction.run("UPDATE embedding_model SET dimension = ? WHERE number = ?", (made, number))
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
    transaction.models = None
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
    return True


def _model_brought(transaction: Transaction, given: GivenVector) -> int | None:
    """Return the model of a vector that a caller brought; the first one makes its model the one in use."""
    rows = transaction.run(_MODEL, (given.model,)).fetchall()
    if not rows:
        if transaction.run("SELECT 1 FROM embedding_model WHERE state IN ('active', 'given')").fetchall():
            return None
        made = "INSERT INTO embedding_model (name, dimension, state) VALUES (?, ?, 'given') RETURNING number"
        rows = transaction.run(made, (given.model, len(given.values))).fetchall()
        return int(rows[0][0])
    number, dimension = rows[0]
    return number if dimension == len(given.values) else None


def _forget_other_texts(transaction: Transaction, position: int, digest: bytes) -> None:
    """Drop the vectors of a text that a memory has no longer."""
    transaction.run("DELETE FROM memory_vector WHERE position = ? AND digest <> ?", (position, digest))


def _wanted(transaction: Transaction) -> tuple[int, ...]:
    if transaction.models is None:
        transaction.models = tuple(number for (number,) in transaction.run(_MODELS).fetchall())
    return transaction.models


def _has_vector(transaction: Transaction, position: int, model: int, digest: bytes) -> bool:
    rows = transaction.run(_HELD, (position, model)).fetchall()
    return bool(rows) and rows[0][0] == digest


def _model(transaction: Transaction, name: str) -> tuple[int, int | None]:
    rows = transaction.run(_MODEL, (name,)).fetchall()
    if not rows:
        raise RagridError(f"no model {name!r} in the store; it was taken out of the settings")
    number, dimension = rows[0]
    return number, dimension
