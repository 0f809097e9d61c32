"""Holds answers against an OpenAPI document: a status, media type, header or member that it does not name fails."""

import functools
import json
import re
from typing import Any

import httpx
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from ragrid.web.auth import PUBLIC_PATHS


class Described:
    """One OpenAPI 3.1 document. Paths that it does not know are checked only for being refused."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        #: Literal paths first, so that `/memories/search` is not taken for an id.
        self._paths = [(_pattern(path), path) for path in sorted(document["paths"], key=lambda one: "{" in one)]
        self._validator = functools.cache(self._made)

    def check(self, request: httpx.Request, response: httpx.Response) -> None:
        """Fail when the answer is not one that the document announces. The answer must have been read."""
        said = f"{request.method} {request.url.path}: {response.status_code}"
        found = self._operation(request)
        if found is None and request.url.path in PUBLIC_PATHS:
            return
        if found is None:
            assert response.status_code in (404, 405), f"{said}: served, and not in the description"
            return
        path, method = found
        answers = self.document["paths"][path][method]["responses"]
        status = str(response.status_code)
        assert status in answers, f"{said}: not announced; wanted {', '.join(answers)}: {response.text[:500]}"
        for name in answers[status].get("headers", {}):
            assert name in response.headers or name == "idempotency-replayed", f"{said}: no header {name}"
        content = answers[status].get("content")
        if content is None:
            assert response.content == b"", f"{said}: got a body, wanted none: {response.text[:500]}"
            return
        media_type = response.headers["content-type"].partition(";")[0]
        assert media_type in content, f"{said}: got {media_type}, wanted {', '.join(content)}"
        if media_type != "application/json" and not media_type.endswith("+json"):
            return
        fault = best_match(self._validator(path, method, status, media_type).iter_errors(response.json()))
        assert fault is None, f"{said}: {fault.json_path}: {fault.message}: {response.text[:1000]}"

    async def hook(self, response: httpx.Response) -> None:
        """Be a response hook of an httpx client: every answer that it gets is checked."""
        await response.aread()
        self.check(response.request, response)

    def _operation(self, request: httpx.Request) -> tuple[str, str] | None:
        method = request.method.lower()
        for pattern, path in self._paths:
            if pattern.fullmatch(request.url.path) and method in self.document["paths"][path]:
                return path, method
        return None

    def _made(self, path: str, method: str, status: str, media_type: str) -> Draft202012Validator:
        content = self.document["paths"][path][method]["responses"][status]["content"]
        whole = {**content[media_type]["schema"], "components": self.document["components"]}
        return Draft202012Validator(json.loads(json.dumps(whole)))


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^}]+\})", path)
    return re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts))
