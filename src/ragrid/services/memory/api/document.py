"""The API's description without a running service."""

from typing import Any

import ragrid
from ragrid.services.memory.api.openapi import openapi_document
from ragrid.services.memory.api.routes import MemoryApi
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.system.clock import SystemClock


def document() -> dict[str, Any]:
    """Return the OpenAPI document of this release, as a grid serves it."""
    operations = MemoryApi(InMemoryStore(), SystemClock()).operations
    return openapi_document(operations, base="/memory/v1", version=ragrid.__version__)
