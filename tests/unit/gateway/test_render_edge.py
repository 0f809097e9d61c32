"""The rendered edge, byte for byte, and what its configuration refuses."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from ragrid.gateway.config import EdgeService, GatewayConfig, Limits, MutualTls, Tls
from ragrid.gateway.render import render_nginx
from ragrid.gateway.routes import POLICY

GOLDEN = Path(__file__).parents[2] / "golden" / "gateway"

CONFIG = GatewayConfig(
    issuer="https://grid.example:8443",
    server_name="grid.example",
    listen_addresses=("192.168.68.69", "::1"),
    http_port=8080,
    https_port=8443,
    tls=Tls(certificate_file=Path("/srv/grid/pki/gateway.crt"), key_file=Path("/srv/grid/secrets/gateway.key")),
    metrics_port=9145,
    run_directory=Path("/srv/grid/run/gateway"),
    log_directory=Path("/srv/grid/log"),
    lua_directory=Path("/srv/grid/lua"),
    admin_socket=Path("/srv/grid/run/gateway-admin.sock"),
    state_file=Path("/srv/grid/data/gateway/state.json"),
    services=(
        EdgeService(name="chromadb"),
        EdgeService(name="memory", balance="round_robin"),
        EdgeService(name="vllm", limits=Limits(tokens_per_minute=60_000)),
    ),
    user="root",
)


@pytest.mark.parametrize("name", ["nginx.conf", "policy.json"])
def test_the_files_are_those_of_the_golden_folder(name: str) -> None:
    """To change them on purpose: write `render_nginx(CONFIG)` over the golden files and review the difference."""
    assert render_nginx(CONFIG)[name].decode() == (GOLDEN / name).read_text()


def test_the_same_configuration_gives_the_same_bytes() -> None:
    assert render_nginx(CONFIG) == render_nginx(dataclasses.replace(CONFIG))


def test_without_tls_the_plain_port_is_the_edge() -> None:
    text = render_nginx(dataclasses.replace(CONFIG, tls=None, https_port=None))["nginx.conf"].decode()
    assert "ssl" not in text
    assert "return 308" not in text
    assert "listen 192.168.68.69:8080 default_server;" in text


def test_every_path_that_nginx_would_choose_itself_is_chosen() -> None:
    text = render_nginx(CONFIG)["nginx.conf"].decode()
    for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        assert f'{name}_temp_path "/srv/grid/run/gateway/{name}"' in text
    assert "/var/" not in text
    assert "daemon off;" in text


def test_streaming_services_are_not_buffered_and_foreign_ones_see_no_token() -> None:
    text = render_nginx(CONFIG)["nginx.conf"].decode()
    blocks = {
        prefix: re.search(rf"location \^~ {re.escape(prefix)} \{{(.*?)\n        }}", text, re.DOTALL)
        for prefix in ("/v1", "/api/v2", "/memory/v1")
    }
    for prefix, block in blocks.items():
        assert block is not None, prefix
        body = block.group(1)
        assert ("proxy_buffering off;" in body) is (prefix == "/v1")
        wanted = "$http_authorization" if prefix == "/memory/v1" else '""'
        assert f"proxy_set_header Authorization {wanted};" in body
    assert "gzip off;" in text


def test_the_table_holds_all_routes_of_the_services_and_no_other() -> None:
    table = json.loads(render_nginx(CONFIG)["policy.json"])["services"]
    assert sorted(table) == ["chromadb", "memory", "vllm"]
    for name, service in table.items():
        assert [one["name"] for one in service["routes"]] == [route.name for route in POLICY[name].routes]


@pytest.mark.parametrize("changes", [{"https_port": None}, {"tls": None}, {"state_file": Path("state.json")}])
def test_half_a_configuration_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="wanted"):
        dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("name", ['a"b', "a;b", "a$b", "a\nb", "a{b"])
def test_a_value_that_nginx_would_read_as_code_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"nginx\.conf cannot carry"):
        render_nginx(dataclasses.replace(CONFIG, log_directory=Path(f"/srv/{name}")))
    with pytest.raises(ValueError, match=r"nginx\.conf cannot carry"):
        render_nginx(dataclasses.replace(CONFIG, server_name=name))


def test_answers_are_read_only_where_callers_have_a_quota_of_tokens() -> None:
    text = render_nginx(CONFIG)["nginx.conf"].decode()
    assert text.count("body_filter_by_lua_block") == 1
    free = dataclasses.replace(CONFIG, services=(EdgeService(name="vllm"),))
    assert "body_filter_by_lua_block" not in render_nginx(free)["nginx.conf"].decode()


def test_in_mutual_tls_only_our_own_services_are_spoken_to() -> None:
    files = {name: Path(f"/srv/grid/secrets/{name}") for name in ("certificate_file", "key_file", "authority_file")}
    mutual = dataclasses.replace(CONFIG, mutual_tls=MutualTls(**files, server_name="service.example"))
    rendered = render_nginx(mutual)
    text, table = rendered["nginx.conf"].decode(), json.loads(rendered["policy.json"])
    ways = dict(re.findall(r"location \^~ (\S+) \{.*?proxy_pass (\w+)://instances", text, re.DOTALL))
    assert ways == {"/api/v2": "http", "/memory/v1": "https", "/mcp": "https", "/v1": "http"}
    assert "proxy_ssl_verify on;" in text
    assert [name for name, one in table["services"].items() if one.get("mutual_tls")] == ["memory"]
    assert "proxy_ssl" not in render_nginx(CONFIG)["nginx.conf"].decode()
