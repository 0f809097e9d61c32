"""The `vllm` part of a grid whose model runs elsewhere (pure): a private nginx that passes `/v1/` on to its address.

The gateway then sees one more instance on a private port, whatever TLS, host name, path or key the real one wants.
"""

from pathlib import Path
from urllib.parse import urlsplit

from ragrid.drivers.local.part import Part, Probe, Scrape
from ragrid.drivers.local.site import Site
from ragrid.spec.services import Vllm

#: Where Debian keeps the authorities that everybody trusts.
TRUST_STORE = "/etc/ssl/certs/ca-certificates.crt"
#: The name of the file, among the resolved secrets, that sets the address's own Authorization.
KEY_FILE = "vllm-relay.conf"
#: Answers as the address itself does when it is asked for its models.
UPSTREAM_PATH = "/upstream"


def relay_part(site: Site, service: Vllm, address: str) -> Part:
    """Return the relay to `address`, an OpenAI-compatible base address that ends in /v1."""
    directory = site.layout.etc / "relay"
    return Part(
        name="vllm",
        version=site.programs.version("nginx"),
        command=(str(site.programs.nginx), "-p", f"{directory}/", "-c", "nginx.conf", "-e", "stderr"),
        ports=(site.port("services.vllm.port", service.port),),
        probe=Probe(f"http://{site.address}:{service.port}{UPSTREAM_PATH}"),
        scrape=Scrape(site.address, site.grid.agent.port, "/metrics/vllm"),
        files={"etc/relay/nginx.conf": _configuration(site, service, address).encode()},
        stop_signal="QUIT",
        priority=20,
    )


def key_directive(key: str) -> str:
    """Return the nginx directive that sends `key`. Raises ValueError for one that nginx would read differently."""
    if not key.isascii() or not key.isprintable() or any(character in key for character in "\"'\\$;{} "):
        raise ValueError("the API key holds a character that cannot be part of a bearer token")
    return f'proxy_set_header Authorization "Bearer {key}";\n'


def _configuration(site: Site, service: Vllm, address: str) -> str:
    base = address.rstrip("/")
    run = site.layout.run / "relay"
    user = "user root;\n" if site.as_root else ""
    return f"""\
# Rendered by ragrid; edit grid.yaml instead.
{user}daemon off;
worker_processes 1;
pid {run / "nginx.pid"};
error_log stderr warn;

events {{
    worker_connections 4096;
}}

http {{
    {_folders(run)}
    access_log off;
    server_tokens off;
    client_max_body_size 0;

{_towards(site, service, base)}

{_server(f"{site.address}:{service.port}", base)}
}}
"""


def _folders(run: Path) -> str:
    return "\n    ".join(
        f"{each}_temp_path {run / each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )


def _towards(site: Site, service: Vllm, base: str) -> str:
    """Return how the address is spoken to: unbuffered, as the host that it takes itself for, with its own key."""
    key = f"include {site.secrets.resolved(KEY_FILE)};" if service.api_key else 'proxy_set_header Authorization "";'
    return f"""\
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_request_buffering off;
    proxy_read_timeout 600s;
    proxy_set_header Host {urlsplit(base).netloc};
    proxy_set_header Connection "";
    proxy_ssl_server_name on;
    proxy_ssl_verify on;
    proxy_ssl_verify_depth 4;
    proxy_ssl_trusted_certificate {TRUST_STORE};
    {key}"""


def _server(listen: str, base: str) -> str:
    return f"""\
    server {{
        listen {listen};
        location = /health {{ # the gateway asks this four times a second: it says only that the relay lives
            return 200;
        }}
        location = {UPSTREAM_PATH} {{
            proxy_pass {base}/models;
        }}
        location /v1/ {{
            proxy_pass {base}/;
        }}
        location / {{
            return 404;
        }}
    }}"""
