"""Asks a part whether it works, now."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ragrid.drivers.local.part import Part
from ragrid.drivers.local.parts_gateway import routed_services
from ragrid.spec.settings import ClientTls


@dataclass(frozen=True, slots=True)
class Health:
    """The answer of one part; `detail` says why it is not well, `told` is what it says of itself."""

    is_ready: bool
    detail: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)


class Prober:
    """Asks parts over HTTP. https parts are verified against `authority`, and those that want a certificate get one."""

    def __init__(self, authority: Path, *, tls: ClientTls | None, timeout_s: float = 2.0) -> None:
        self._client = httpx.Client(verify=_trust(authority, tls), timeout=timeout_s, trust_env=False)

    def ask(self, part: Part) -> Health:
        """Return the health of `part`."""
        try:
            response = self._client.get(part.probe.url)
        except httpx.TimeoutException:
            return Health(False, f"no answer at {part.probe.url} within {self._client.timeout.read:g} s")
        except httpx.HTTPError as error:
            return Health(False, f"{part.probe.url}: {error}")
        if response.status_code == httpx.codes.OK:
            return Health(True, told=_told(response))
        return _unwell(part, response)

    def edge(self, gateway: Part) -> Health:
        """Return what the gateway says of its state, on its private port; `ask` only shows that its door is open."""
        try:
            response = self._client.get(f"http://{gateway.scrape.host}:{gateway.scrape.port}/readyz")
        except httpx.HTTPError as error:
            return Health(False, f"its private port does not answer: {error}")
        told = _told(response)
        if response.status_code == httpx.codes.OK:
            return Health(True, _what_is_closed(told), told)
        return Health(False, f"not ready: {told.get('status', response.status_code)}", told)

    def routed(self, gateway: Part) -> frozenset[str]:
        """Return the services that the gateway sends requests to; none while it does not answer."""
        try:
            page = self._client.get(f"http://{gateway.scrape.host}:{gateway.scrape.port}{gateway.scrape.path}")
        except httpx.HTTPError:
            return frozenset()
        return routed_services(page.text)

    def close(self) -> None:
        """Let connections go."""
        self._client.close()


def _unwell(part: Part, response: httpx.Response) -> Health:
    """Return what a refusal says; a part that tells how far its opening is (`progress`) is quoted alone."""
    told = _told(response)
    if "progress" in told:
        return Health(False, str(told.get("detail", "")), told)
    return Health(False, f"{part.probe.url}: status {response.status_code}: {response.text[:200].strip()}", told)


def _what_is_closed(told: Mapping[str, Any]) -> str:
    if not told.get("admin_closed"):
        return ""
    return (
        "requests that need an :admin permission are refused: what was revoked is not known, for longer than"
        " `gateway.admin_closes_after` or since nginx started; look at the controller and the token service"
    )


def _trust(authority: Path, tls: ClientTls | None) -> ssl.SSLContext | bool:
    authorities = [file for file in (authority, tls.authority_file if tls else None) if file and file.exists()]
    if not authorities:
        return False
    context = ssl.create_default_context(cafile=str(authorities[0]))
    for file in authorities[1:]:
        context.load_verify_locations(file)
    if tls and tls.certificate_file.exists():
        context.load_cert_chain(tls.certificate_file, tls.key_file)
    return context


def _told(response: httpx.Response) -> Mapping[str, Any]:
    """Return the JSON object of an answer, empty when it is something else."""
    if "json" not in response.headers.get("content-type", ""):
        return {}
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
