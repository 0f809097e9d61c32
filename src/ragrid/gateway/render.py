"""The edge as plain files: nginx.conf and policy.json. Pure; the same bytes for the same configuration.

`nginx -p DIRECTORY -c nginx.conf -e stderr` runs them, where DIRECTORY holds both. nginx stays in the foreground, needs
no root above port 1023, and writes only below `run_directory` and `log_directory`, which must exist.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from ragrid.gateway.config import EdgeService, GatewayConfig, Limits, MutualTls
from ragrid.gateway.policy_table import READ_TIMEOUT_S, policy_table
from ragrid.gateway.route import ServicePolicy
from ragrid.gateway.routes import POLICY

CONNECT_TIMEOUT_S = 2.0
SEND_TIMEOUT_S = 60.0
#: Below the 5 s after which uvicorn (and with it vLLM) closes an idle connection: no request meets a closing one.
UPSTREAM_IDLE_S = 4
UPSTREAM_IDLE_CONNECTIONS = 64

#: Statuses that nginx makes by itself and that the caller gets as problem+json.
_NGINX_ERRORS = "401 403 404 405 408 411 413 429 500 501 502 503 504"
#: Of requests that nginx could not even read: there is no address then, and a named location would need one.
_NGINX_UNREADABLE = "400 414 495 496 497 505"


#: Fields of a client's that go no further: those of one connection alone (RFC 9110, section 7.6.1), and what some
#: servers take for a proxy's word about who calls, from where, and what for. headers.lua strips X-Ragrid-*.
_STRIPPED = (
    *("Forwarded", "HTTP2-Settings", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "TE", "Upgrade"),
    *("X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-User", "X-HTTP-Method-Override"),
    *("X-Original-URL", "X-Real-IP", "X-Rewrite-URL"),
)


def render_nginx(config: GatewayConfig) -> dict[str, bytes]:
    """Return relative file name → content of everything that nginx reads, apart from the Lua files and certificates.

    Raises KeyError for a service that `routes.POLICY` does not know.
    """
    return {
        "nginx.conf": _nginx_conf(config).encode(),
        "policy.json": (json.dumps(policy_table(config), indent=1, sort_keys=True) + "\n").encode(),
    }


def _quoted(value: str | Path) -> str:
    """A value for nginx; a quote, backslash, dollar sign or line end in it could say something else there."""
    text = str(value)
    if any(character in text for character in '"\\$\n\r\0;{}'):
        raise ValueError(f"{text!r}: holds a character that nginx.conf cannot carry; choose another name")
    return f'"{text}"'


def _indented(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line if line else line for line in text.strip("\n").splitlines())


def _nginx_conf(config: GatewayConfig) -> str:
    servers = [_edge_server(config), _metrics_server(config), _admin_server(config)]
    if config.tls is not None:
        servers.insert(0, _redirect_server(config))
    body = "\n\n".join(_indented(part, 4) for part in (_http_settings(config), *servers))
    return f"{_main_settings(config)}\nhttp {{\n{body}\n}}\n"


def _main_settings(config: GatewayConfig) -> str:
    user = f"user {config.user};\n" if config.user else ""
    modules = "".join(
        f"load_module {_quoted(config.modules_directory / name)};\n"
        for name in ("ndk_http_module.so", "ngx_http_lua_module.so")
    )
    return f"""\
# Rendered by ragrid; edit grid.yaml instead.
{user}{modules}daemon off;
worker_processes {config.workers};
worker_rlimit_nofile 16384;
pid {_quoted(config.run_directory / "nginx.pid")};
error_log stderr notice;
pcre_jit on;

events {{
    worker_connections 4096;
}}
"""


def _http_settings(config: GatewayConfig) -> str:
    run = config.run_directory
    temporary = "\n".join(
        f"{name}_temp_path {_quoted(run / name)};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    patience = config.patience
    zones = "\n".join(_limit_zones(service) for service in sorted(config.services, key=lambda one: one.name))
    return f"""\
server_tokens off;
default_type application/octet-stream;
{temporary}
log_format edge escape=json '{{"time":"$time_iso8601","request_id":"$ragrid_request_id","service":"$ragrid_service",'
    '"route":"$ragrid_route","subject":"$ragrid_subject","method":"$request_method","path":"$uri","status":$status,'
    '"sent_bytes":$bytes_sent,"took_s":$request_time,"upstream":"$upstream_addr",'
    '"upstream_status":"$upstream_status","first_byte_s":"$upstream_header_time","client":"$remote_addr"}}';
access_log {_quoted(config.log_directory / "access.log")} edge buffer=64k flush=1s;

{_lua_settings(config)}

client_header_timeout {patience.header_s:g}s;
client_body_timeout {patience.body_s:g}s;
send_timeout 60s;
keepalive_timeout 75s;
keepalive_requests 100000;
client_body_buffer_size 256k;
large_client_header_buffers 2 16k; # a token may have 8 KB, and a line must fit into one
uninitialized_variable_warn off; # what is refused before any Lua runs has no subject, and needs no line for that
gzip off;
tcp_nodelay on;

{zones}
limit_req_status 429;
limit_conn_status 429;

upstream instances {{
    server 0.0.0.1; # never used: balance() names the instance of each request
    balancer_by_lua_block {{ edge.balance() }}
    keepalive {UPSTREAM_IDLE_CONNECTIONS};
    keepalive_timeout {UPSTREAM_IDLE_S}s;
    keepalive_requests 100000;
}}"""


def _lua_settings(config: GatewayConfig) -> str:
    return f"""\
lua_package_path "{_plain(config.lua_directory)}/?.lua;{config.lua_path};;";
lua_package_cpath "{config.lua_c_path};;";
lua_shared_dict ragrid_state 16m;
lua_shared_dict ragrid_health 1m;
lua_shared_dict ragrid_connections 1m;
lua_shared_dict ragrid_metrics 8m;
lua_shared_dict ragrid_verdicts 8m;
lua_shared_dict ragrid_quotas 4m;
lua_socket_log_errors off;
{_trusted(config.mutual_tls)}\
init_by_lua_block {{ edge = require "edge"; edge.init() }}
init_worker_by_lua_block {{ edge.init_worker() }}"""


def _limit_zones(service: EdgeService) -> str:
    """16,000 callers to a megabyte; nginx keeps zones of the same name and size over a reload."""
    return (
        f"limit_req_zone $ragrid_subject zone={service.name}_requests:2m rate={service.limits.requests_per_s}r/s;\n"
        f"limit_conn_zone $ragrid_subject zone={service.name}_concurrent:1m;"
    )


def _plain(value: str | Path) -> str:
    return _quoted(value)[1:-1]


def _listens(addresses: Iterable[str], port: int, suffix: str = "") -> str:
    lines = (f"listen {f'[{host}]' if ':' in host else host}:{port}{suffix};" for host in addresses)
    return "\n".join(lines)


_HEALTH = """\
location = /health {
    access_log off;
    default_type application/json;
    return 200 '{"status":"ok"}\\n';
}"""


def _redirect_server(config: GatewayConfig) -> str:
    port = "" if config.https_port == 443 else f":{config.https_port}"
    return f"""\
server {{
{_indented(_listens(config.listen_addresses, config.http_port, " default_server"), 4)}
    server_name {_plain(config.server_name)};
    access_log off;
{_indented(_HEALTH, 4)}
    location / {{
        return 308 https://$host{port}$request_uri;
    }}
}}"""


def _edge_server(config: GatewayConfig) -> str:
    if config.tls is not None and config.https_port is not None:
        listens = _listens(config.listen_addresses, config.https_port, " ssl http2 default_server")
        tls = _indented(_tls_settings(config), 4) + "\n"
    else:
        listens, tls = _listens(config.listen_addresses, config.http_port, " default_server"), ""
    locations = "\n".join(
        _indented(
            _service_location(POLICY[service.name], prefix, service.limits, is_mutual=config.mutual_tls is not None), 4
        )
        for service in config.services
        for prefix in POLICY[service.name].prefixes
    )
    return f"""\
server {{
{_indented(listens, 4)}
    server_name {_plain(config.server_name)};
{tls}    http2_max_concurrent_streams 256;
    set $ragrid_service "none";
    set $ragrid_route "";
    set $ragrid_subject "";
    set $ragrid_peer "";
    set $ragrid_request_id "";
    set $ragrid_aside "";
    add_header X-Request-Id $ragrid_request_id always;
    error_page {_NGINX_ERRORS} @problem;
    error_page {_NGINX_UNREADABLE} /unreadable;
    error_page 494 =431 /unreadable; # nginx's own number for a header that is too large
{_indented(_proxy_settings() + _proxy_tls(config.mutual_tls), 4)}

{_indented(_HEALTH, 4)}
{locations}
    location / {{
        rewrite_by_lua_block {{ edge.rewrite_unknown() }}
        log_by_lua_block {{ edge.log("none") }}
    }}
    location = /unreadable {{
        internal;
        content_by_lua_block {{ require("problem").from_nginx() }}
        log_by_lua_block {{ edge.log("none") }}
    }}
    location @problem {{
        content_by_lua_block {{ require("problem").from_nginx() }}
        log_by_lua_block {{ edge.log(ngx.var.ragrid_service) }}
    }}
}}"""


def _tls_settings(config: GatewayConfig) -> str:
    if config.tls is None:
        return ""
    return f"""\
ssl_certificate {_quoted(config.tls.certificate_file)};
ssl_certificate_key {_quoted(config.tls.key_file)};
ssl_protocols TLSv1.2 TLSv1.3;
ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305;
ssl_prefer_server_ciphers off;
ssl_session_cache shared:tls:4m;
ssl_session_timeout 1h;
ssl_session_tickets off;"""


def _proxy_settings() -> str:
    """What holds for every service. `non_idempotent`: the Lua balancer decides about replays, by route."""
    return f"""\
proxy_connect_timeout {CONNECT_TIMEOUT_S:g}s;
proxy_send_timeout {SEND_TIMEOUT_S:g}s;
proxy_read_timeout {READ_TIMEOUT_S:g}s;
proxy_http_version 1.1;
proxy_next_upstream error timeout non_idempotent;
proxy_hide_header X-Request-Id;
proxy_redirect off;"""


def _proxy_tls(mutual: MutualTls | None) -> str:
    """How our own services are spoken to. Whoever answers must be one of them, and is asked only by name."""
    if mutual is None:
        return ""
    return f"""
proxy_ssl_certificate {_quoted(mutual.certificate_file)};
proxy_ssl_certificate_key {_quoted(mutual.key_file)};
proxy_ssl_trusted_certificate {_quoted(mutual.authority_file)};
proxy_ssl_verify on;
proxy_ssl_name {_plain(mutual.server_name)};
proxy_ssl_protocols TLSv1.2 TLSv1.3;"""


def _trusted(mutual: MutualTls | None) -> str:
    """Whom the health checks believe."""
    return f"lua_ssl_trusted_certificate {_quoted(mutual.authority_file)};\n" if mutual else ""


def _service_location(policy: ServicePolicy, prefix: str, limits: Limits, *, is_mutual: bool) -> str:
    authorization = "$http_authorization" if policy.forwards_authorization else '""'
    stripped = "\n".join(f'proxy_set_header {name} "";' for name in _STRIPPED)
    buffering = "proxy_buffering off;" if policy.is_streaming else "proxy_buffering on;"
    return f"""\
location ^~ {prefix} {{
    set $ragrid_service "{policy.name}";
    client_max_body_size {policy.body_limit_bytes};
    limit_req zone={policy.name}_requests burst={limits.burst} nodelay;
    limit_conn {policy.name}_concurrent {limits.concurrent};
{_indented(_told_limits(limits), 4)}
    {buffering}
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    proxy_set_header Authorization {authorization};
{_indented(stripped, 4)}
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Request-Id $ragrid_request_id;
{_metering(limits)}    set_by_lua_block $ragrid_request_id {{ return edge.decide("{policy.name}") }}
    if ($ragrid_aside) {{
        rewrite_by_lua_block {{ edge.aside("{policy.name}") }}
    }}
    log_by_lua_block {{ edge.log("{policy.name}") }}
    proxy_pass {"https" if is_mutual and policy.forwards_authorization else "http"}://instances;
}}"""


def _told_limits(limits: Limits) -> str:
    """What a good answer says of the limits; a location with a field of its own inherits none."""
    left = "" if limits.tokens_per_minute is None else "\nadd_header RateLimit $ragrid_quota;"
    return f"add_header X-Request-Id $ragrid_request_id always;\nadd_header RateLimit-Policy '{limits.policy}';{left}"


def _metering(limits: Limits) -> str:
    """Read what answers cost; nobody may encode them then. Comes before `decide`, which sets the variable."""
    if limits.tokens_per_minute is None:
        return ""
    return """\
    proxy_set_header Accept-Encoding "";
    set $ragrid_quota "";
    body_filter_by_lua_block { edge.read_answer() }
"""


def _metrics_server(config: GatewayConfig) -> str:
    return f"""\
server {{
{_indented(_listens((config.metrics_host,), config.metrics_port), 4)}
    access_log off;
    location = /metrics {{
        content_by_lua_block {{ edge.metrics() }}
    }}
    location = /healthz {{
        default_type application/json;
        return 200 '{{"status":"ok"}}\\n';
    }}
    location = /readyz {{
        content_by_lua_block {{ edge.ready() }}
    }}
    location / {{
        return 404;
    }}
}}"""


def _admin_server(config: GatewayConfig) -> str:
    return f"""\
server {{
    listen {_quoted(f"unix:{config.admin_socket}")};
    access_log off;
    client_max_body_size 16m;
    client_body_buffer_size 4m;
    location = /state {{
        content_by_lua_block {{ require("state").admin() }}
    }}
    location / {{
        return 404;
    }}
}}"""
