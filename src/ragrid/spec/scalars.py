"""How a scalar of the grid is read: what a kind of scalar is, and a parser for each; the table of them is kinds.py.

A parser takes what YAML held and raises ValueError whose message is advice.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ragrid.spec import values

NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")
_HOST_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HOST_NAME = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL}){{0,8}}")
PERMISSION = re.compile(r"[a-z][a-z0-9-]{0,39}:[a-z][a-z0-9-]{0,39}")
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,62}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SECRET_VARIABLE = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY|CREDENTIAL", re.IGNORECASE)

AnyAddress = IPv4Address | IPv6Address
AnyNetwork = IPv4Network | IPv6Network


def _never(_: object) -> bool:
    return False


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of scalar. `parse` takes what YAML held and raises ValueError with advice when it will not do.

    `hides` tells of a refused value whether it may be a secret, and so must not be shown.
    """

    name: str
    wanted: str
    parse: Callable[[Any], object]
    schema: dict[str, Any]
    hides: Callable[[object], bool] = _never

    def validate(self, value: object) -> object:
        """Return the parsed value; raises PydanticCustomError that carries what was wanted and the advice."""
        try:
            return self.parse(value)
        except ValueError as error:
            context = {"wanted": self.wanted, "advice": str(error), "secret": self.hides(value)}
            raise PydanticCustomError("kind", "wanted {wanted}; {advice}", context) from error

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read by `validate` alone; written back as text unless it is a plain number."""
        written = None if self.schema.get("type") == "integer" else core_schema.to_string_ser_schema()
        return core_schema.no_info_plain_validator_function(self.validate, serialization=written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return what the JSON Schema says about this kind."""
        return dict(self.schema)


def _text(value: object, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"write text in quotes, for example `{example}`")
    return value


def matching(pattern: re.Pattern[str], advice: str) -> Callable[[Any], str]:
    """Return a parser of text that is wholly of this pattern."""

    def parse(value: object) -> str:
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        raise ValueError(advice)

    return parse


def _within(low: int, high: int, advice: str) -> Callable[[Any], int]:
    def parse(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(advice)

    return parse


def parsed_by(kind: type[Any]) -> Callable[[Any], object]:
    """Return a parser that leaves the work to the class's own `parse`; what it gave before is taken again."""

    def parse(value: object) -> object:
        return value if isinstance(value, kind) else kind.parse(str(value))

    return parse


def parse_line(value: object) -> str:
    """Return text that is one line of at most 4,096 characters, and not blank."""
    if isinstance(value, str) and value.strip() and len(value) <= 4096 and not _CONTROL.search(value):
        return value
    raise ValueError("write text of one line; put numbers in quotes")


def parse_argument(value: object) -> str:
    """Return one argument of a command; a whole number is written out."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return parse_line(value)


def always(value: object) -> bool:
    """Any plain value may be a secret."""
    return isinstance(value, str | int | float)


def holds_user(value: object) -> bool:
    """An address with an `@` may name a user and a password."""
    return "@" in str(value)


def parse_address(value: object) -> AnyAddress:
    """Return the IP address of one machine."""
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    try:
        address = ipaddress.ip_address(_text(value, "192.168.1.10"))
    except ValueError as error:
        raise ValueError("write an address such as `192.168.1.10`, without a mask or a port") from error
    if address.is_unspecified or address.is_multicast:
        raise ValueError("write the address of one machine; this one stands for any or for many")
    return address


def parse_network(value: object) -> AnyNetwork:
    """Return a network; a host's address with a mask is refused with the network that it lies in."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    text = _text(value, "192.168.1.0/24")
    if "/" not in text:
        raise ValueError("add the mask, for example `192.168.1.0/24`")
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        if "host bits" in str(error):
            loose = ipaddress.ip_network(text, strict=False)
            raise ValueError(f"that is one host's address; the network is `{loose}`") from error
        raise ValueError("write a network such as `192.168.1.0/24`") from error


def parse_absolute_path(value: object) -> Path:
    """Return an absolute path without `..`."""
    text = str(value) if isinstance(value, Path) else parse_line(value)
    if not text.startswith("/"):
        raise ValueError("start it with `/`; `~` and relative paths mean different places to different users")
    if ".." in PurePosixPath(text).parts:
        raise ValueError("write it without `..`")
    return Path(text)


def parse_openai_address(value: object) -> str:
    """Return the base address of an OpenAI-compatible server, ending in `/v1`, without user or password."""
    text = parse_line(value)
    try:
        parts = urlsplit(text)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ValueError("write an address such as `http://127.0.0.1:8000/v1`") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError("take the user and password out of the address; a key belongs in `api_key: env:NAME`")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_good or parts.query or parts.fragment:
        raise ValueError("write an address such as `http://127.0.0.1:8000/v1`")
    if not parts.path.rstrip("/").endswith("/v1"):
        raise ValueError("let it end in `/v1`, as OpenAI-compatible servers have it")
    return text.rstrip("/")


def parse_public_name(value: object) -> str:
    """Return a host name or an IP address, as a certificate names it."""
    text = _text(value, "rag.example.org")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if HOST_NAME.fullmatch(text):
            return text
    raise ValueError("write it in lower case without `https://`, port or path, for example `rag.example.org`")


def parse_environment_value(value: object) -> str | values.SecretReference:
    """Return text, or a reference when it looks like one."""
    if isinstance(value, values.SecretReference):
        return value
    text = parse_argument(value)
    return values.SecretReference.parse(text) if text.startswith(("env:", "file:")) else text


def is_secret_name(variable: str) -> bool:
    """Return whether an environment variable of this name surely holds a secret."""
    return _SECRET_VARIABLE.search(variable) is not None


def string_schema(pattern: re.Pattern[str] | str, example: str) -> dict[str, Any]:
    """Return the JSON Schema of text of this pattern."""
    text = pattern if isinstance(pattern, str) else pattern.pattern
    return {"type": "string", "pattern": f"^(?:{text})$", "examples": [example]}


def whole_number(name: str, low: int, high: int, advice: str) -> Kind:
    """Return a kind of whole number from `low` to `high`."""
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Kind(name, f"a whole number from {low} to {high}", _within(low, high, advice), schema)
