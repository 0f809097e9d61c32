"""The API's own description, served as OpenAPI 3.1."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec
from starlette.requests import Request

import ragrid
from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.openapi import openapi_document
from ragrid.services.memory.api.operation import Operation, Success


class DescriptionApi:
    """Describes `described`, and itself."""

    def __init__(self, base: str, described: Sequence[Operation]) -> None:
        self._base = base
        self._described = tuple(described)

    def operations(self) -> tuple[Operation, ...]:
        """Return the one operation."""
        return (
            Operation(
                method="GET",
                path="/openapi.json",
                id="readDescription",
                summary="Describes this API as OpenAPI 3.1.",
                permission="memory:read",
                handler=self._read,
                successes=(Success(status=200, summary="The description.", schema=dict[str, Any]),),
            ),
        )

    async def _read(self, _request: Request) -> Answer:
        return Answer(200, self._document)

    @cached_property
    def _document(self) -> bytes:
        every = (*self._described, *self.operations())
        return msgspec.json.encode(openapi_document(every, base=self._base, version=ragrid.__version__))
