"""The tools as the official SDK serves them. Imported when somebody first calls: the SDK takes 35 MiB of memory."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from starlette.requests import Request
from starlette.types import ASGIApp

import ragrid
from ragrid.services.memory.api.operation import Operation
from ragrid.services.memory.metrics import TOOL_CALLS
from ragrid.services.memory.model import BODY_BYTES
from ragrid.services.memory.tools.arguments import inner_request, lean
from ragrid.services.memory.tools.performing import Outcome, outcome_of
from ragrid.services.memory.tools.schema import input_schema
from ragrid.services.memory.tools.table import DESTRUCTIVE, INSTRUCTIONS, offered
from ragrid.services.memory.tools.table import Tool as Offered
from ragrid.web.application import request_id_of
from ragrid.web.auth import claims_of
from ragrid.web.problem import Problem

logger = logging.getLogger(__name__)

_LEAST_REFUSAL = 400

Context = ServerRequestContext[Any, Request]


@asynccontextmanager
async def served(operations: Sequence[Operation]) -> AsyncIterator[ASGIApp]:
    """Give an ASGI application that speaks the protocol while the block runs; no session outlives a request."""
    tools = _Tools(operations)
    server: Server[Any] = Server(
        "ragrid-memory",
        version=ragrid.__version__,
        title="ragrid memory",
        instructions=INSTRUCTIONS,
        on_list_tools=tools.list,
        on_call_tool=tools.call,
    )
    # Without checks of Host and Origin: they guard servers that ask for no token, and this one answers nobody without.
    manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True, max_request_body_size=BODY_BYTES)
    async with manager.run():
        yield manager.handle_request


class _Tools:
    """Lists and calls, for whoever the token of the request names."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = tuple(operations)
        every = offered(operations)
        self._schemas = {operation.id: input_schema(operation) for _, operation in every.values()}

    async def list(self, context: Context, _params: PaginatedRequestParams | None) -> ListToolsResult:
        found = offered(self._operations, claims_of(_http(context)))
        return ListToolsResult(tools=[self._described(tool, one) for tool, one in found.values()])

    async def call(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        request = _http(context)
        claims = claims_of(request)
        every = offered(self._operations)
        if params.name not in every:
            return _refused(f"no tool {params.name[:64]!r}; known are: {', '.join(every)}")
        _, operation = every[params.name]
        try:
            wanted = inner_request(operation, self._schemas[operation.id], params.arguments or {})
            outcome = await outcome_of(operation, wanted, claims, request_id_of(request.scope))
        except Problem as problem:
            outcome = Outcome(problem.status, bytes(problem.response().body))
        except Exception:  # the boundary of a call: the model is told, and the service lives on
            request_id = request_id_of(request.scope)
            logger.exception("tool failed", extra={"tool": params.name, "request_id": request_id})
            TOOL_CALLS.labels(params.name, "failed").inc()
            return _refused(f"unexpected fault; look for {request_id} in the log of the memory service")
        is_refused = outcome.status >= _LEAST_REFUSAL
        TOOL_CALLS.labels(params.name, "refused" if is_refused else "done").inc()
        return _answered(outcome, is_refused=is_refused)

    def _described(self, tool: Offered, operation: Operation) -> Tool:
        is_reading = operation.permission == "memory:read"
        hints = ToolAnnotations(
            read_only_hint=is_reading,
            destructive_hint=operation.method in ("PUT", "PATCH", "DELETE") or operation.id in DESTRUCTIVE,
            idempotent_hint=is_reading or operation.method in ("PUT", "DELETE"),
            open_world_hint=False,
        )
        schema = self._schemas[operation.id]
        return Tool(name=tool.name, description=tool.description, input_schema=schema, annotations=hints)


def _http(context: Context) -> Request:
    if context.request is None:
        raise AssertionError("the tools are served over HTTP alone")
    return context.request


def _answered(outcome: Outcome, *, is_refused: bool) -> CallToolResult:
    if not outcome.body:
        return CallToolResult(content=[TextContent(text="done")], structured_content={"status": outcome.status})
    found = lean(msgspec.json.decode(outcome.body))
    text = msgspec.json.encode(found).decode()
    return CallToolResult(content=[TextContent(text=text)], structured_content=found, is_error=is_refused)


def _refused(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=True)
