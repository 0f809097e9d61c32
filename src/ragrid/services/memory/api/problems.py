"""The status of every refusal that an operation may give, by its code."""

from collections.abc import Mapping

from ragrid.services.memory.api.answers import STATUS_OF_ERROR

#: Refusals that are no error of the store: those raised as a Problem, here and in `ragrid.web`.
_RAISED: Mapping[str, int] = {
    "backup-running": 409,
    "batch-refused": 409,
    "body-too-large": 413,
    "feed-rewound": 409,
    "import-refused": 422,
    "insufficient-scope": 403,
    "invalid-body": 422,
    "invalid-cursor": 400,
    "invalid-filter": 422,
    "invalid-id": 400,
    "invalid-idempotency-key": 400,
    "invalid-json": 400,
    "invalid-namespace": 400,
    "invalid-parameter": 400,
    "invalid-precondition": 400,
    "invalid-token": 401,
    "job-not-found": 404,
    "no-embedder": 409,
    "repeated-header": 400,
    "repeated-parameter": 400,
    "stopping": 503,
    "token-confined": 403,
    "unauthorized": 401,
    "unknown-parameter": 400,
    "unsupported-media-type": 415,
}
PROBLEM_STATUS: Mapping[str, int] = {**_RAISED, **{code: status for status, code in STATUS_OF_ERROR.values()}}
