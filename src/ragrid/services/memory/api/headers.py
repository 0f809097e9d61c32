"""What the headers of a request say: preconditions, namespace, idempotency key, media type."""

import re

from starlette.requests import Request

from ragrid.services.memory.changes import ANY, Condition
from ragrid.web.problem import Problem

_NAMESPACE = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]{1,64}")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def namespace_of(request: Request) -> str | None:
    """Return the namespace that the request names, or None. Raises a 400 Problem when it cannot be one."""
    name = _single(request, b"memory-namespace")
    return None if name is None else valid_namespace(name, "header Memory-Namespace")


def valid_namespace(name: str, where: str) -> str:
    """Return `name` when it can be that of a namespace. Raises a 400 Problem that says `where` it stood."""
    if not _NAMESPACE.fullmatch(name):
        raise Problem(400, "invalid-namespace", f"{where}: wanted 1 to 64 characters of A-Z a-z 0-9 . _ ~ -")
    return name


def idempotency_key_of(request: Request) -> str | None:
    """Return the idempotency key, with or without the quotes of a structured field. Raises a 400 Problem."""
    raw = _single(request, b"idempotency-key")
    if raw is None:
        return None
    key = raw[1:-1] if len(raw) > 1 and raw[0] == raw[-1] == '"' else raw
    if not _KEY.fullmatch(key):
        detail = "header Idempotency-Key: wanted 1 to 255 visible ASCII characters, a UUID for example"
        raise Problem(400, "invalid-idempotency-key", detail)
    return key


def condition_of(request: Request) -> Condition:
    """Return what If-Match and If-None-Match ask of a change. Raises a 400 Problem."""
    match, none_match = _joined(request, b"if-match"), _joined(request, b"if-none-match")
    if match is None and none_match is None:
        return ANY
    if none_match is not None and none_match != "*":
        detail = "header If-None-Match: wanted `*` on a change; to change one version, send If-Match"
        raise Problem(400, "invalid-precondition", detail)
    if match is None or match == "*":
        return Condition(must_exist=match == "*", must_be_absent=none_match == "*")
    # If-Match compares strongly (RFC 9110): a weak tag never matches. Tags that are not ours match nothing.
    versions = frozenset(int(tag) for weak, tag in _tags(match, "If-Match") if not weak and _VERSION.fullmatch(tag))
    return Condition(versions=versions, must_be_absent=none_match == "*")


def is_unmodified(request: Request, version: int) -> bool:
    """Tell whether the caller of a read has this version already. Raises a 400 Problem."""
    wanted = _joined(request, b"if-none-match")
    if wanted is None:
        return False
    return wanted == "*" or any(tag == str(version) for _, tag in _tags(wanted, "If-None-Match"))


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def require_media_type(request: Request, wanted: str) -> None:
    """Raise a 415 Problem unless the body is declared as `wanted`."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        detail = f"content encoding {encoding[:100]!r}, wanted none: send the body as it is"
        raise Problem(415, "unsupported-media-type", detail, headers={"Accept-Encoding": "identity"})
    declared = request.headers.get("content-type", "")
    if declared.partition(";")[0].strip().lower() != wanted:
        header = "Accept-Patch" if request.method == "PATCH" else "Accept-Post"
        detail = f"content type {declared[:100]!r}, wanted {wanted}"
        raise Problem(415, "unsupported-media-type", detail, headers={header: wanted})


def _tags(value: str, header: str) -> list[tuple[str, str]]:
    found = [(match[1] or "", match[2]) for match in _ETAG.finditer(value)]
    if not found or _ETAG.sub("", value).replace(",", "").strip():
        raise Problem(400, "invalid-precondition", f'header {header}: wanted `*` or entity tags such as `"3"`')
    return found


def _joined(request: Request, name: bytes) -> str | None:
    values = [value for header, value in request.scope["headers"] if header == name]
    return b",".join(values).decode("latin-1").strip() if values else None


def _single(request: Request, name: bytes) -> str | None:
    values = [value for header, value in request.scope["headers"] if header == name]
    if not values:
        return None
    if len(values) > 1:
        raise Problem(400, "repeated-header", f"header {name.decode()} came {len(values)} times, wanted once")
    text: str = values[0].decode("latin-1")
    return text
