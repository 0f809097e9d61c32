"""policy.lua decides what `find_route` decides: for every route, every method, and paths that are almost a route's."""

import json
import os
import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.gateway.config import GatewayConfig
from ragrid.gateway.launch import nginx_command
from ragrid.gateway.render import render_nginx
from ragrid.gateway.route import Found, Route, find_route
from ragrid.gateway.routes import POLICY
from support import after_kill

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get")
#: What stands for a `{name}`; the last ones are words of other routes.
SEGMENTS = ("t1", "a.b", "~", "a:b", "é", "+", "by-id", "collections", "search", "..x", "x,y", "*", "$")
#: What the edge reads out of a path.
NAMES = {"tenant", "database", "collection"}

_DECIDE = """
    local cjson, policy = require "cjson.safe", require "policy"
    ngx.req.read_body()
    local found = {}
    for _, case in ipairs(cjson.decode(ngx.req.get_body_data())) do
        local hit, status, allowed = policy.find(policy.service(case[1]), case[2], case[3], case[3])
        found[#found + 1] = not hit and { status = status, allowed = allowed } or {
            route = hit.route.name, tenant = hit.tenant, database = hit.database or nil,
            collection = hit.collection or nil,
        }
    end
    ngx.print(cjson.encode(found))
"""


@pytest.fixture
def decide(module_edge: Any, short_directory: Path, ports: Any, wait_until: Any) -> Iterator[Any]:
    """A bare nginx that runs policy.lua over the rendered policy.json; takes and gives lists."""
    config: GatewayConfig = module_edge.config
    port = ports(1)[0]
    (short_directory / "policy.json").write_bytes(render_nginx(config)["policy.json"])
    modules = "".join(
        f"load_module {config.modules_directory}/{name};\n" for name in ("ndk_http_module.so", "ngx_http_lua_module.so")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = " ".join(
        f"{name}_temp_path {short_directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (short_directory / "nginx.conf").write_text(f"""{user} {modules} daemon off; master_process off;
pid {short_directory}/pid; error_log stderr error; events {{}}
http {{ access_log off; {temporary} client_max_body_size 32m; client_body_buffer_size 32m;
lua_package_path "{config.lua_directory}/?.lua;{config.lua_path};;";
lua_package_cpath "{config.lua_c_path};;";
init_by_lua_block {{
    local file = assert(io.open("{short_directory}/policy.json"))
    require("policy").load(require("cjson.safe").decode(file:read("*a")).services)
    file:close()
}}
server {{ listen 127.0.0.1:{port}; location / {{ content_by_lua_block {{ {_DECIDE} }} }} }} }}
""")
    process = after_kill.start(nginx_command(short_directory), stdin=subprocess.DEVNULL)

    def ask(cases: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.post(
            f"http://127.0.0.1:{port}/", content=json.dumps(cases), timeout=30
        ).json()
        return found

    try:
        wait_until(lambda: ask([("memory", "GET", "/x")]), "nginx answers")
        yield ask
    finally:
        process.terminate()
        process.wait(10)


def _example(route: Route, chance: random.Random, segments: tuple[str, ...]) -> str:
    parts = [chance.choice(segments) if part.startswith("{") else part for part in route.path.split("/")]
    return "/".join(chance.choice(("x", "x/y", "x/", "search")) if part == "**" else part for part in parts)


def _almost(path: str, chance: random.Random) -> Iterator[str]:
    parts = path.split("/")
    index = chance.randrange(1, len(parts))
    yield from (path + "/", path + "/x", path + "x", path[:-1], path.upper(), path[1:], "/x" + path)
    yield "/".join(parts[:index] + parts[index + 1 :])
    yield "/".join([*parts[:index], chance.choice(SEGMENTS), *parts[index:]])
    yield "/".join([*parts[:index], chance.choice(SEGMENTS), *parts[index + 1 :]])
    yield "/".join([*parts[:index], parts[index].swapcase(), *parts[index + 1 :]])


def _cases() -> list[tuple[str, str, str]]:
    chance = random.Random(20261123)  # the same cases each time
    paths: dict[str, set[str]] = {name: set() for name in POLICY}
    for name, policy in POLICY.items():
        for route in policy.routes:
            for path in (_example(route, chance, segments) for segments in (SEGMENTS[:1], SEGMENTS)):
                paths[name].update((path, *_almost(path, chance)))
    everywhere = sorted(set().union(*paths.values()))
    for name in POLICY:  # and some that belong to the other services
        paths[name].update(chance.sample(everywhere, 40))
    return [(name, method, path) for name in sorted(paths) for path in sorted(paths[name]) for method in METHODS]


def _wanted(service: str, method: str, path: str) -> dict[str, Any]:
    found = find_route(POLICY[service], method, path)
    if found is None:
        return {"status": 404}
    if isinstance(found, Found):
        match = re.fullmatch(found.route.expression, path)
        assert match is not None
        return {"route": found.route.name, **{name: match[name] for name in NAMES & match.groupdict().keys()}}
    return {"status": 405, "allowed": ", ".join(asdict(found)["allowed"])}


def test_lua_and_python_agree(decide: Any) -> None:
    cases = _cases()
    found = decide(cases)
    assert len(found) == len(cases) > 5_000
    wanted = [_wanted(*case) for case in cases]
    differences = [
        triple for triple in zip(cases, found, wanted, strict=True) if triple[1] not in (triple[2], {"status": 400})
    ]
    assert not differences, differences[:10]
    routes = {(case[0], lua["route"]) for case, lua in zip(cases, found, strict=True) if "route" in lua}
    assert routes == {(name, route.name) for name, policy in POLICY.items() for route in policy.routes}
    refused = {case[2] for case, lua in zip(cases, found, strict=True) if lua == {"status": 400}}
    assert all(".." in path or "//" in path or not path.isascii() for path in refused), refused
