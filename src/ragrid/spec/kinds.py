"""The kinds of scalar that a key of the grid may hold: how each is called, read and described."""

from pathlib import Path
from typing import Annotated

from ragrid.spec import values
from ragrid.spec.scalars import (
    HOST_NAME,
    NAME,
    PERMISSION,
    TENANT,
    VARIABLE,
    AnyAddress,
    AnyNetwork,
    Kind,
    always,
    holds_user,
    matching,
    parse_absolute_path,
    parse_address,
    parse_argument,
    parse_environment_value,
    parse_line,
    parse_network,
    parse_openai_address,
    parse_public_name,
    parsed_by,
    string_schema,
    whole_number,
)

_REFERENCE_PATTERN = r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+"

GridName = Annotated[
    str,
    Kind(
        "name",
        "lower-case letters, digits and `-`, at most 40, starting with a letter",
        matching(NAME, "write a name such as `tron`"),
        string_schema(NAME, "tron"),
    ),
]
HostName = Annotated[
    str,
    Kind(
        "host name",
        "a host name: lower-case letters, digits, `-` and `.`",
        matching(HOST_NAME, "write a name such as `sark`; put a name made of digits in quotes"),
        string_schema(HOST_NAME, "sark"),
    ),
]
PublicName = Annotated[
    str,
    Kind("host name or address", "a host name or an IP address", parse_public_name, {"type": "string", "minLength": 1}),
]
RoleName = Annotated[
    str,
    Kind(
        "role name",
        "lower-case letters, digits and `-`, at most 40, starting with a letter",
        matching(NAME, "write a name such as `auditor`"),
        string_schema(NAME, "auditor"),
    ),
]
Permission = Annotated[
    str,
    Kind(
        "permission",
        "a permission of the shape `service:action`",
        matching(PERMISSION, "write for example `memory:read`"),
        string_schema(PERMISSION, "memory:read"),
    ),
]
TenantName = Annotated[
    str,
    Kind(
        "tenant name",
        "3 to 63 letters, digits, `_` and `-`, starting with a letter or digit",
        matching(TENANT, "write a name such as `default_tenant`"),
        string_schema(TENANT, "default_tenant"),
    ),
]
VariableName = Annotated[
    str,
    Kind(
        "variable name",
        "the name of an environment variable",
        matching(VARIABLE, "write letters, digits and `_`, for example `HF_HOME`"),
        string_schema(VARIABLE, "HF_HOME"),
    ),
]
Port = Annotated[int, whole_number("port", 1, 65_535, "choose a TCP port that is free, for example 8001")]
GpuCount = Annotated[int, whole_number("count", 0, 64, "write how many GPUs the host has")]
Parallelism = Annotated[int, whole_number("count", 1, 1024, "write how many GPUs share one model")]
Mtu = Annotated[int, whole_number("bytes", 576, 65_535, "1500 is usual, 9000 for jumbo frames")]
WordCount = Annotated[int, whole_number("words", 1, 10_000, "120 suits the default embedder")]
WordOverlap = Annotated[int, whole_number("words", 0, 10_000, "20 suits chunks of 120 words")]
BackupCount = Annotated[int, whole_number("count", 1, 1_000, "each is as large as what it is a copy of")]
RequestCount = Annotated[int, whole_number("requests", 1, 1_000_000, "the defaults suit a small team")]
ConnectionCount = Annotated[
    int, whole_number("connections", 20, 10_000, "200 suits two replicas of each service; each one takes memory")
]
TokenCount = Annotated[
    int, whole_number("tokens", 16, 10_000_000, "write the longest prompt and answer together, in tokens")
]
Weight = Annotated[int, whole_number("weight", 1, 1000, "1 is usual; 2 gets twice as much")]
TokenQuota = Annotated[
    int, whole_number("tokens", 1, 1_000_000_000, "write how many tokens a caller may use in a minute")
]
Line = Annotated[
    str, Kind("text", "text of one line, not empty", parse_line, {"type": "string", "minLength": 1, "maxLength": 4096})
]
Argument = Annotated[
    str,
    Kind("text", "one argument: text of one line or a whole number", parse_argument, {"type": ["string", "integer"]}),
]
EnvironmentValue = Annotated[
    str | values.SecretReference,
    Kind(
        "text or secret reference",
        "text of one line, a whole number, `env:NAME` or `file:PATH`",
        parse_environment_value,
        {"type": ["string", "integer"]},
        hides=always,
    ),
]
Address = Annotated[
    AnyAddress, Kind("IP address", "an IP address", parse_address, {"type": "string", "examples": ["192.168.1.10"]})
]
Network = Annotated[
    AnyNetwork,
    Kind("network", "a network in CIDR form", parse_network, {"type": "string", "examples": ["192.168.1.0/24"]}),
]
AbsolutePath = Annotated[
    Path, Kind("path", "an absolute path", parse_absolute_path, string_schema("/.*", "/backup/borg"))
]
OpenAIAddress = Annotated[
    str,
    Kind(
        "address",
        "an http or https address that ends in `/v1`",
        parse_openai_address,
        string_schema("https?://.+", "http://127.0.0.1:8000/v1"),
        hides=holds_user,
    ),
]
Duration = Annotated[
    values.Duration,
    Kind(
        "duration",
        "a duration (ms, s, m, h or d)",
        parsed_by(values.Duration),
        string_schema(r"[0-9]+(\.[0-9]+)?(ms|s|m|h|d)", "10m"),
    ),
]
Percentage = Annotated[
    values.Percentage,
    Kind(
        "percentage",
        "a percentage from 0% to 100%",
        parsed_by(values.Percentage),
        string_schema(r"[0-9]+(\.[0-9]+)?%", "80%"),
    ),
]
Rate = Annotated[
    values.Rate,
    Kind(
        "rate",
        "a rate (a second, minute or hour)",
        parsed_by(values.Rate),
        string_schema(r"[0-9]+(\.[0-9]+)?/[smh]", "1000/s"),
    ),
]
TimeOfDay = Annotated[
    values.TimeOfDay,
    Kind(
        "time of day",
        "a time from 00:00 to 23:59",
        parsed_by(values.TimeOfDay),
        string_schema(r"([01][0-9]|2[0-3]):[0-5][0-9]", "02:30"),
    ),
]
Secret = Annotated[
    values.SecretReference,
    Kind(
        "secret reference",
        "a reference to a secret",
        parsed_by(values.SecretReference),
        string_schema(_REFERENCE_PATTERN, "env:ALERT_WEBHOOK"),
        hides=always,
    ),
]
