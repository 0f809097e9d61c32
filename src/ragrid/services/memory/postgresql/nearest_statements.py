"""The statements about the server's index of vectors (pgvector). Pure.

`memory_vector` stays the original. `memory_nearest` is derived from it, for large namespaces only, in the background,
in the order of stamps; `memory_nearest_done` tells up to which stamp. So in any snapshot a namespace is what the index
has, of which a row counts only while the original has its stamp, and the vectors behind that stamp. A server that had
no pgvector before, or loses it, has nothing to migrate: the index is made behind, or is not asked.
"""

from typing import Any, NamedTuple

from ragrid.inference.embedder import FloatArray
from ragrid.services.memory.changes import Scope
from ragrid.services.memory.postgresql.queries import Statement, conditions_of, filter_tables
from ragrid.services.memory.postgresql.schema import SCHEMA
from ragrid.services.memory.protocol.memories import Filter

#: Makes an order that no index has.
_COMPARED = "+ 0"

#: The largest dimension that an index of half precision takes: https://github.com/pgvector/pgvector#hnsw
DIMENSION_LIMIT = 4000

#: 1 in the first column where this database has the extension, its version in either case, and where its types lie.
EXTENSION = """
SELECT x.extversion IS NOT NULL AS is_here, coalesce(x.extversion, a.default_version) AS version, n.nspname AS schema
FROM pg_available_extensions AS a LEFT JOIN pg_extension AS x ON x.extname = a.name
  LEFT JOIN pg_namespace AS n ON n.oid = x.extnamespace
WHERE a.name = 'vector'
"""
CREATE_EXTENSION = "CREATE EXTENSION IF NOT EXISTS vector SCHEMA public"
#: Fails where the extension is there and its library is not.
TRY_LIBRARY = "SELECT '[1]'::halfvec <#> '[1]'::halfvec"

#: Whether the tables are there as they should be; an extension that was dropped took the column along.
IS_MADE = """
SELECT EXISTS (
  SELECT FROM pg_attribute WHERE attrelid = to_regclass('memory_nearest') AND attname = 'meaning' AND NOT attisdropped
)
"""
MAKE = """
DROP TABLE IF EXISTS memory_nearest, memory_nearest_done;
CREATE TABLE memory_nearest (
  tenant    text COLLATE "C" NOT NULL,
  model     integer NOT NULL,
  position  bigint NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  stamp     bigint NOT NULL,  -- of the original that it was made from
  meaning   halfvec NOT NULL,
  PRIMARY KEY (tenant, model, position)
);
-- Up to which stamp a namespace is in the index. No contents.
CREATE TABLE memory_nearest_done (
  tenant    text COLLATE "C" NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  model     integer NOT NULL,
  stamp     bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, namespace, model)
);
"""

MODELS = f"""
SELECT number, dimension FROM embedding_model
WHERE state IN ('active', 'kept', 'filling') AND dimension BETWEEN 1 AND {DIMENSION_LIMIT} ORDER BY number
"""  # noqa: S608 - our own words
#: Models that callers brought and that the index has vectors of; their numbers say their dimensions.
BROUGHT = "SELECT DISTINCT model FROM memory_nearest_done WHERE model < 0"
INDEXES = f"""
SELECT indexname::text FROM pg_indexes
WHERE schemaname = '{SCHEMA}' AND tablename = 'memory_nearest' AND indexname LIKE 'memory\\_nearest\\_of\\_%'
"""  # noqa: S608 - our own words

#: Tenants that have to do with the index, and what tells whether anything has happened there.
TENANTS = """
SELECT t.tenant, t.last_stamp, t.seq, t.rows >= $1 AS is_large FROM tenant AS t
WHERE t.rows >= $1 OR EXISTS (SELECT FROM memory_nearest_done AS d WHERE d.tenant = t.tenant)
"""
NAMESPACES = "SELECT name, brought_dimension FROM namespace WHERE tenant = $1 AND rows >= $2"
BEGIN = "INSERT INTO memory_nearest_done (tenant, namespace, model) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
#: One replica at a time brings a namespace forward; the others find no row.
TAKE = """
SELECT stamp FROM memory_nearest_done WHERE tenant = $1 AND namespace = $2 AND model = $3 FOR UPDATE SKIP LOCKED
"""
NEXT = """
SELECT position, stamp, vector FROM memory_vector
WHERE tenant = $1 AND namespace = $2 AND model = $3 AND stamp > $4 ORDER BY stamp LIMIT $5
"""
DONE = "UPDATE memory_nearest_done SET stamp = $4 WHERE tenant = $1 AND namespace = $2 AND model = $3"
#: The last of `$4` positions behind `$3`; no row when that are all.
PRUNE_TO = """
SELECT position FROM memory_nearest WHERE tenant = $1 AND model = $2 AND position > $3
ORDER BY position LIMIT 1 OFFSET $4 - 1
"""
#: Drops what no longer stands for an original.
PRUNE = """
DELETE FROM memory_nearest AS n
WHERE n.tenant = $1 AND n.model = $2 AND n.position > $3 AND n.position <= $4 AND NOT EXISTS (
  SELECT FROM memory_vector AS v
  WHERE v.tenant = $1 AND v.position = n.position AND v.model = $2 AND v.stamp = n.stamp
)
"""
PRUNED_MODELS = "SELECT DISTINCT model FROM memory_nearest_done WHERE tenant = $1"
FORGET = """
DELETE FROM memory_nearest_done AS d WHERE d.tenant = $1
  AND NOT EXISTS (SELECT FROM memory_nearest AS n WHERE n.tenant = $1 AND n.model = d.model)
  AND NOT EXISTS (SELECT FROM embedding_model AS m WHERE m.number = d.model)  -- no brought one is there
"""

#: What the index does not have yet: no row where the namespace is not in it, else at least one, its stamp maybe NULL.
TAIL = """
SELECT v.stamp, v.vector FROM memory_nearest_done AS d LEFT JOIN LATERAL (
  SELECT one.stamp, one.vector FROM memory_vector AS one
  WHERE one.tenant = $1 AND one.namespace = $2 AND one.model = $3 AND one.stamp > d.stamp ORDER BY one.stamp LIMIT $4
) AS v ON true
WHERE d.tenant = $1 AND d.namespace = $2 AND d.model = $3
"""


class Question(NamedTuple):
    """What is looked for, by whose vectors, and how many of it."""

    scope: Scope
    model: int
    vector: FloatArray
    wanted: Filter
    now_us: int
    include_superseded: bool
    limit: int


def index_name(model: int) -> str:
    """Return the name of a model's index."""
    return f"memory_nearest_of_{model:d}" if model > 0 else f"memory_nearest_of_brought_{-model:d}"


def create_index(model: int, dimension: int) -> str:
    """Return the statement that makes a model's index. Vectors have length 1: the inner product is the cosine."""
    return (
        f"CREATE INDEX IF NOT EXISTS {index_name(model)} ON memory_nearest "
        f"USING hnsw ((meaning::halfvec({dimension:d})) halfvec_ip_ops) WHERE model = {model:d}"
    )


def keep_statement(dimension: int) -> str:
    """Return the statement that puts vectors into the index: `$5` has all their members, one after the other."""
    return f"""
        INSERT INTO memory_nearest AS n (tenant, namespace, model, position, stamp, meaning)
        SELECT $1, $2, $3, k.position, k.stamp,
          ($6::real[])[(k.number - 1) * {dimension:d} + 1 : k.number * {dimension:d}]::halfvec({dimension:d})
        FROM unnest($4::bigint[], $5::bigint[]) WITH ORDINALITY AS k (position, stamp, number)
        ON CONFLICT (tenant, model, position) DO UPDATE SET namespace = excluded.namespace, stamp = excluded.stamp,
          meaning = excluded.meaning WHERE n.stamp < excluded.stamp
    """  # noqa: S608 - numbers of ours


def few_statement(asked: Question, *, limit: int) -> Statement:
    """Return the statement for the positions of what the filter lets through, `limit` of them at most."""
    parameters: list[Any] = [asked.scope.tenant, asked.scope.namespace]
    tables, conditions = _filter(asked, parameters, "m")
    sql = f"SELECT m.position FROM memory AS m{tables} WHERE {conditions} LIMIT {limit:d}"  # noqa: S608 - our own words
    return sql, tuple(parameters)


def among_statement(asked: Question, positions: list[int]) -> Statement:
    """Return the statement that compares with `positions` alone, exactly: `(stamp, position, score)`, best first."""
    sql = f"""
        SELECT v.stamp, v.position, -({_distance(asked)}) AS score
        FROM unnest($4::bigint[]) AS k (position) CROSS JOIN LATERAL (
          SELECT * FROM memory_nearest AS one
          WHERE one.tenant = $1 AND one.model = {asked.model:d} AND one.position = k.position LIMIT 1
        ) AS n JOIN memory_vector AS v
          ON v.tenant = $1 AND v.position = n.position AND v.model = n.model AND v.stamp = n.stamp
        WHERE n.tenant = $1 AND n.namespace = $2
        ORDER BY {_distance(asked)} {_COMPARED} LIMIT {asked.limit:d}
    """  # noqa: S608 - numbers of ours
    return sql, (asked.scope.tenant, asked.scope.namespace, asked.vector.tolist(), positions)


def index_statement(asked: Question, *, is_exact: bool = False) -> Statement:
    """Return the statement for the nearest within the filter, best first: `(stamp, position, score)`.

    The index gives one row after the other until `limit` met the conditions; `is_exact` compares with all rows instead.
    """
    parameters: list[Any] = [asked.scope.tenant, asked.scope.namespace, asked.vector.tolist()]
    tables, conditions = _filter(asked, parameters, "v")
    sql = f"""
        SELECT v.stamp, v.position, -({_distance(asked)}) AS score
        FROM memory_nearest AS n
          JOIN memory_vector AS v
            ON v.tenant = $1 AND v.position = n.position AND v.model = n.model AND v.stamp = n.stamp
          JOIN memory AS m ON m.tenant = $1 AND m.position = v.position{tables}
        WHERE n.tenant = $1 AND n.namespace = $2 AND n.model = {asked.model:d} AND {conditions}
        ORDER BY {_distance(asked)} {_COMPARED if is_exact else ""} LIMIT {asked.limit:d}
    """  # noqa: S608 - our own words and numbers
    return sql, tuple(parameters)


def _filter(asked: Question, parameters: list[Any], beside: str) -> tuple[str, str]:
    conditions = conditions_of(parameters, asked.wanted, asked.now_us, include_superseded=asked.include_superseded)
    return filter_tables(parameters, asked.scope, asked.wanted, beside, conditions)


def _distance(asked: Question) -> str:
    dimension = len(asked.vector)
    return f"(n.meaning::halfvec({dimension:d}) <#> $3::real[]::halfvec({dimension:d}))"
