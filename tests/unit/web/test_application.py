import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import msgspec
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message

from ragrid.errors import AuthError, ConflictError, StateError, UnreachableError
from ragrid.web.application import build_application, read_body, read_json, request_id_of
from ragrid.web.auth import claims_of, require
from ragrid.web.problem import Problem
from support.token_mint import TokenMint

MINT = TokenMint()
GOOD = {"Authorization": f"Bearer {MINT.token()}"}


class Item(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    tags: list[int] = []


class Order(msgspec.Struct):
    items: list[Item]
    prices: dict[str, int] = {}


async def who(request: Request) -> Response:
    claims = claims_of(request)
    require(request, "memory:read")
    return Response(msgspec.json.encode([claims.subject, request_id_of(request.scope)]))


async def administer(request: Request) -> Response:
    require(request, "memory:admin")
    return Response()


async def order(request: Request) -> Response:
    wanted = await read_json(request, Order, limit_bytes=1000)
    return Response(msgspec.json.encode(wanted))


async def upload(request: Request) -> Response:
    return Response(str(len(await read_body(request, 1000))))


FAULTS: dict[str, Exception] = {
    "problem": Problem(409, "taken", "it is taken", headers={"X-Why": "test"}, members={"holder": "ada"}),
    "http": HTTPException(418, "Teapot"),
    "unreachable": UnreachableError("chromadb: no answer"),
    "state": StateError("store: damaged"),
    "conflict": ConflictError("moved"),
    "auth": AuthError("not yours"),
    "bug": ZeroDivisionError("secret detail"),
}


async def fail(request: Request) -> Response:
    raise FAULTS[request.path_params["what"]]


async def half(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    return StreamingResponse(parts())


async def forever(request: Request) -> Response:
    await asyncio.Event().wait()
    return Response()


ROUTES = [
    Route("/forever", forever),
    Route("/who", who),
    Route("/administer", administer),
    Route("/orders", order, methods=["POST"]),
    Route("/upload", upload, methods=["POST"]),
    Route("/fail/{what}", fail),
    Route("/half", half),
]


async def ready() -> Mapping[str, Any]:
    return {"store": "read"}


def client(readiness: Any = ready, **options: Any) -> httpx.AsyncClient:
    application = build_application(ROUTES, verifier=MINT.verifier(), readiness=readiness, name="memory", **options)
    return httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test")


async def test_the_caller_is_known_and_the_gateways_request_id_kept() -> None:
    async with client() as http:
        answer = await http.get("/who", headers={**GOOD, "X-Request-Id": "0123456789abcdef"})
    assert answer.json() == ["ada", "0123456789abcdef"]


@pytest.mark.parametrize("hostile", ["", "a b", "x" * 65, 'a"b', "a\tb"])
async def test_a_hostile_request_id_is_replaced(hostile: str) -> None:
    async with client() as http:
        answer = await http.get("/who", headers={**GOOD, "X-Request-Id": hostile})
    assert len(answer.json()[1]) == 32


@pytest.mark.parametrize(
    ("authorization", "code", "challenge"),
    [
        (None, "unauthorized", 'Bearer realm="ragrid"'),
        ("", "invalid-token", 'Bearer realm="ragrid", error="invalid_token"'),
        ("Basic YTpi", "invalid-token", 'Bearer realm="ragrid", error="invalid_token"'),
        ("Bearer", "invalid-token", 'Bearer realm="ragrid", error="invalid_token"'),
        ("Bearer ", "invalid-token", 'Bearer realm="ragrid", error="invalid_token"'),
        ("Bearer x.y.z", "invalid-token", 'Bearer realm="ragrid", error="invalid_token"'),
        (f"Bearer  {MINT.token()}", "invalid-token", 'Bearer realm="ragrid", error="invalid_token"'),
        (MINT.token(), "invalid-token", 'Bearer realm="ragrid", error="invalid_token"'),
        (f"Bearer {MINT.token(exp=1)}", "invalid-token", 'Bearer realm="ragrid", error="invalid_token"'),
    ],
)
async def test_without_a_good_token_nobody_gets_in(authorization: str | None, code: str, challenge: str) -> None:
    async with client() as http:
        answer = await http.get("/who", headers={} if authorization is None else {"Authorization": authorization})
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == challenge


async def test_two_authorization_headers_are_not_chosen_from() -> None:
    async with client() as http:
        answer = await http.get("/who", headers=[("Authorization", GOOD["Authorization"])] * 2)
    assert answer.status_code == 401


async def test_the_scheme_is_written_in_any_case() -> None:
    async with client() as http:
        answer = await http.get("/who", headers={"Authorization": f"bEARER {MINT.token()}"})
    assert answer.status_code == 200


async def test_a_path_nobody_knows_is_not_shown_to_strangers() -> None:
    async with client() as http:
        assert (await http.get("/nothing")).status_code == 401
        answer = await http.get("/nothing", headers=GOOD)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_a_missing_permission_is_403_and_named() -> None:
    async with client() as http:
        answer = await http.get("/administer", headers=GOOD)
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-scope")
    assert answer.headers["www-authenticate"].endswith('error="insufficient_scope", scope="memory:admin"')


async def test_another_method_is_405_with_the_right_ones() -> None:
    async with client() as http:
        answer = await http.put("/orders", headers=GOOD)
    assert (answer.status_code, answer.json()["code"], answer.headers["allow"]) == (405, "method-not-allowed", "POST")


@pytest.mark.parametrize(
    ("what", "status", "code"),
    [
        ("problem", 409, "taken"), ("http", 418, "refused"), ("unreachable", 503, "unavailable"),
        ("state", 500, "failed"), ("conflict", 500, "failed"), ("auth", 403, "forbidden"),
        ("bug", 500, "internal-error"),
    ],
)  # fmt: skip
async def test_every_fault_is_one_problem(what: str, status: int, code: str) -> None:
    async with client() as http:
        answer = await http.get(f"/fail/{what}", headers={**GOOD, "X-Request-Id": "abc"})
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"], body["request_id"]) == (status, status, code, "abc")
    assert body["type"] == f"urn:ragrid:problem:{code}"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


async def test_a_bug_is_logged_with_its_traceback_and_a_refusal_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async with client() as http:
        await http.get("/fail/problem", headers=GOOD)
        assert caplog.records == []
        await http.get("/fail/bug", headers=GOOD)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_half_an_answer_is_cut_not_mended() -> None:
    async with client() as http:
        with pytest.raises(ZeroDivisionError):
            await http.get("/half", headers=GOOD)


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ('{"items": [{"name": 1}]}', "/items/0/name", "expected `str`, got `int`"),
        ('{"items": [{"name": "a", "tags": [1, "x"]}]}', "/items/0/tags/1", "expected `int`, got `str`"),
        ('{"items": [{}]}', "/items/0/name", "object missing required field `name`"),
        ('{"items": [{"name": "a", "a/b~c": 1}]}', "/items/0/a~1b~0c", "object contains unknown field `a/b~c`"),
        ('{"items": [{"name": "a", "x` - at `$.y": 1}]}', None, None),
        ('{"items": [], "prices": {"a": "b"}}', "/prices", "expected `int`, got `str`"),
        ("{}", "/items", "object missing required field `items`"),
        ("[]", "", "expected `object`, got `array`"),
    ],
)
async def test_json_of_another_shape_is_422_with_a_pointer(body: str, pointer: str | None, detail: str | None) -> None:
    async with client() as http:
        answer = await http.post("/orders", headers=GOOD, content=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-body")
    if pointer is not None:
        assert answer.json()["errors"] == [{"pointer": pointer, "detail": detail}]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"items": [] x}', b'{"x":' + b"[" * 900, b'{"items": [{"name": "\xff"}]}', b"NaN"],
)
async def test_what_is_not_json_is_400(body: bytes) -> None:
    async with client() as http:
        answer = await http.post("/orders", headers=GOOD, content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-json")


async def test_good_json_arrives() -> None:
    async with client() as http:
        answer = await http.post("/orders", headers=GOOD, content='{"items": [{"name": "a"}]}')
    assert answer.json() == {"items": [{"name": "a", "tags": []}], "prices": {}}


@pytest.mark.parametrize(("size_bytes", "status"), [(0, 200), (1000, 200), (1001, 413), (100_000, 413)])
async def test_the_size_of_a_body_is_bounded(size_bytes: int, status: int) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, size_bytes, 300):
            yield b"x" * min(300, size_bytes - start)

    async with client() as http:
        announced = await http.post("/upload", headers=GOOD, content=b"x" * size_bytes)
        streamed = await http.post("/upload", headers=GOOD, content=parts())
    assert (announced.status_code, streamed.status_code) == (status, status)
    if status == 413:
        assert announced.json()["limit_bytes"] == 1000


async def test_a_request_cut_by_the_end_of_the_service_may_be_tried_again() -> None:
    async with client() as http:
        request = asyncio.create_task(http.get("/forever", headers=GOOD))
        await asyncio.sleep(0.01)
        request.cancel()
        answer = await request
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "stopping", "1")


async def test_a_caller_who_goes_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    application = build_application(ROUTES, verifier=MINT.verifier(), readiness=ready, name="memory")
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", GOOD["Authorization"].encode())]
    scope = {"type": "http", "method": "POST", "path": "/upload", "headers": headers, "query_string": b""}
    await application({**scope, "root_path": "", "raw_path": b"/upload"}, receive, send)
    assert sent == []
    assert caplog.records == []


async def test_health_needs_no_token_and_says_what_was_seen() -> None:
    async with client() as http:
        assert (await http.get("/healthz")).json() == {"status": "alive"}
        assert (await http.get("/readyz")).json() == {"status": "ready", "store": "read"}


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (UnreachableError("store: gone"), "store: gone"),
        (OSError("secret path"), "OSError"),
        (TimeoutError(), "TimeoutError"),
    ],
)
async def test_not_ready_is_503(error: Exception, detail: str) -> None:
    async def broken() -> Mapping[str, Any]:
        raise error

    async with client(broken) as http:
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (503, "not-ready", detail)


async def test_readiness_that_hangs_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragrid.web.application.READINESS_TIMEOUT_S", 0.01)

    async def hangs() -> Mapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    async with client(hangs) as http:
        assert (await http.get("/readyz")).status_code == 503


async def test_requests_are_counted_by_route_and_never_by_path() -> None:
    async with client() as http:
        for what in ("problem", "http", "a-name-that-nobody-counts"):
            await http.get(f"/fail/{what}", headers=GOOD)
        await http.get("/who", headers=GOOD)
        await http.get("/who")
        await http.request("BREW", "/who", headers=GOOD)
        text = (await http.get("/metrics")).text
    counted = 'ragrid_http_requests_total{method="GET",part="memory",route="/fail/{what}",status="409"} 1.0'
    assert counted in text
    assert 'ragrid_http_requests_total{method="GET",part="memory",route="/who",status="200"} 1.0' in text
    assert 'route="unrouted",status="401"} 1.0' in text
    assert 'method="OTHER"' in text
    assert "nobody-counts" not in text
    labels = 'method="GET",part="memory",route="/who",status="200"'
    assert f'ragrid_http_request_duration_seconds_bucket{{le="+Inf",{labels}}} 1.0' in text
    assert "process_cpu_seconds_total" in text


async def test_public_paths_are_exact() -> None:
    async with client(public={"/who"}) as http:
        assert (await http.get("/who/")).status_code == 401
        assert (await http.get("/healthz")).status_code == 200
