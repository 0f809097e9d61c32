"""The kinds of scalar that a key of the grid may hold: how each is read, described and written in the JSON Schema."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ragrid.spec import values

_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")
_HOST_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL}){{0,8}}")
_PERMISSION = re.compile(r"[a-z][a-z0-9-]{0,39}:[a-z][a-z0-9-]{0,39}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
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
        except (ValueError, TypeError) as error:
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


def _matching(pattern: re.Pattern[str], advice: str) -> Callable[[Any], str]:
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


def _of(kind: type[Any]) -> Callable[[Any], object]:
    def parse(value: object) -> object:
        return value if isinstance(value, kind) else kind.parse(str(value))

    return parse


def _line(value: object) -> str:
    if isinstance(value, str) and value.strip() and len(value) <= 4096 and not _CONTROL.search(value):
        return value
    raise ValueError("write text of one line; put numbers in quotes")


def _argument(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _line(value)


def _always(value: object) -> bool:
    return isinstance(value, str | int | float)


def _holds_user(value: object) -> bool:
    return "@" in str(value)


def _address(value: object) -> AnyAddress:
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    try:
        return ipaddress.ip_address(_text(value, "192.168.1.10"))
    except ValueError as error:
        raise ValueError("write an address such as `192.168.1.10`, without a mask or a port") from error


def _network(value: object) -> AnyNetwork:
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


def _absolute_path(value: object) -> Path:
    text = str(value) if isinstance(value, Path) else _line(value)
    if not text.startswith("/"):
        raise ValueError("start it with `/`; `~` and relative paths mean different places to different users")
    if ".." in PurePosixPath(text).parts:
        raise ValueError("write it without `..`")
    return Path(text)


def _openai_address(value: object) -> str:
    text = _line(value)
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


def _public_name(value: object) -> str:
    text = _text(value, "rag.example.org")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if _HOST_NAME.fullmatch(text):
            return text
    raise ValueError("write it in lower case without `https://`, port or path, for example `rag.example.org`")


def _environment_value(value: object) -> str | values.SecretReference:
    if isinstance(value, values.SecretReference):
        return value
    text = _argument(value)
    return values.SecretReference.parse(text) if text.startswith(("env:", "file:")) else text


def is_secret_name(variable: str) -> bool:
    """Return whether an environment variable of this name surely holds a secret."""
    return _SECRET_VARIABLE.search(variable) is not None


def _string(pattern: re.Pattern[str] | str, example: str) -> dict[str, Any]:
    text = pattern if isinstance(pattern, str) else pattern.pattern
    return {"type": "string", "pattern": f"^(?:{text})$", "examples": [example]}


def _counted(name: str, low: int, high: int, advice: str) -> Kind:
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Kind(name, f"a whole number from {low} to {high}", _within(low, high, advice), schema)


_REFERENCE_PATTERN = r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+"

GridName = Annotated[
    str,
    Kind(
        "name",
        "lower-case letters, digits and `-`, at most 40, starting with a letter",
        _matching(_NAME, "write a name such as `tron`"),
        _string(_NAME, "tron"),
    ),
]
HostName = Annotated[
    str,
    Kind(
        "host name",
        "a host name: lower-case letters, digits, `-` and `.`",
        _matching(_HOST_NAME, "write a name such as `sark`; put a name made of digits in quotes"),
        _string(_HOST_NAME, "sark"),
    ),
]
PublicName = Annotated[
    str,
    Kind("host name or address", "a host name or an IP address", _public_name, {"type": "string", "minLength": 1}),
]
RoleName = Annotated[
    str,
    Kind(
        "role name",
        "lower-case letters, digits and `-`, at most 40, starting with a letter",
        _matching(_NAME, "write a name such as `auditor`"),
        _string(_NAME, "auditor"),
    ),
]
Permission = Annotated[
    str,
    Kind(
        "permission",
        "a permission of the shape `service:action`",
        _matching(_PERMISSION, "write for example `memory:read`"),
        _string(_PERMISSION, "memory:read"),
    ),
]
TenantName = Annotated[
    str,
    Kind(
        "tenant name",
        "3 to 63 letters, digits, `_` and `-`, starting with a letter or digit",
        _matching(_TENANT, "write a name such as `default_tenant`"),
        _string(_TENANT, "default_tenant"),
    ),
]
VariableName = Annotated[
    str,
    Kind(
        "variable name",
        "the name of an environment variable",
        _matching(_VARIABLE, "write letters, digits and `_`, for example `HF_HOME`"),
        _string(_VARIABLE, "HF_HOME"),
    ),
]
Port = Annotated[int, _counted("port", 1, 65_535, "choose a TCP port that is free, for example 8001")]
GpuCount = Annotated[int, _counted("count", 0, 64, "write how many GPUs the host has")]
Parallelism = Annotated[int, _counted("count", 1, 1024, "write how many GPUs share one model")]
Mtu = Annotated[int, _counted("bytes", 576, 65_535, "1500 is usual, 9000 for jumbo frames")]
WordCount = Annotated[int, _counted("words", 1, 10_000, "120 suits the default embedder")]
WordOverlap = Annotated[int, _counted("words", 0, 10_000, "20 suits chunks of 120 words")]
TokenCount = Annotated[
    int, _counted("tokens", 16, 10_000_000, "write the longest prompt and answer together, in tokens")
]
Line = Annotated[
    str, Kind("text", "text of one line, not empty", _line, {"type": "string", "minLength": 1, "maxLength": 4096})
]
Argument = Annotated[
    str,
    Kind("text", "one argument: text of one line or a whole number", _argument, {"type": ["string", "integer"]}),
]
EnvironmentValue = Annotated[
    str | values.SecretReference,
    Kind(
        "text or secret reference",
        "text of one line, a whole number, `env:NAME` or `file:PATH`",
        _environment_value,
        {"type": ["string", "integer"]},
        hides=_always,
    ),
]
Address = Annotated[
    AnyAddress, Kind("IP address", "an IP address", _address, {"type": "string", "examples": ["192.168.1.10"]})
]
Network = Annotated[
    AnyNetwork,
    Kind("network", "a network in CIDR form", _network, {"type": "string", "examples": ["192.168.1.0/24"]}),
]
AbsolutePath = Annotated[Path, Kind("path", "an absolute path", _absolute_path, _string("/.*", "/backup/borg"))]
OpenAIAddress = Annotated[
    str,
    Kind(
        "address",
        "an http or https address that ends in `/v1`",
        _openai_address,
        _string("https?://.+", "http://127.0.0.1:8000/v1"),
        hides=_holds_user,
    ),
]
Duration = Annotated[
    values.Duration,
    Kind(
        "duration",
        "a duration (ms, s, m, h or d)",
        _of(values.Duration),
        _string(r"[0-9]+(\.[0-9]+)?(ms|s|m|h|d)", "10m"),
    ),
]
Percentage = Annotated[
    values.Percentage,
    Kind(
        "percentage",
        "a percentage from 0% to 100%",
        _of(values.Percentage),
        _string(r"[0-9]+(\.[0-9]+)?%", "80%"),
    ),
]
Rate = Annotated[
    values.Rate,
    Kind(
        "rate",
        "a rate (a second, minute or hour)",
        _of(values.Rate),
        _string(r"[0-9]+(\.[0-9]+)?/[smh]", "1000/s"),
    ),
]
TimeOfDay = Annotated[
    values.TimeOfDay,
    Kind(
        "time of day",
        "a time from 00:00 to 23:59",
        _of(values.TimeOfDay),
        _string(r"([01][0-9]|2[0-3]):[0-5][0-9]", "02:30"),
    ),
]
Secret = Annotated[
    values.SecretReference,
    Kind(
        "secret reference",
        "a reference to a secret",
        _of(values.SecretReference),
        _string(_REFERENCE_PATTERN, "env:ALERT_WEBHOOK"),
        hides=_always,
    ),
]
