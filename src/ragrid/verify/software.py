"""The programs and packages that a grid needs, and the verdict on what is installed."""

import importlib.metadata
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ragrid.errors import RagridError
from ragrid.system.process import find_program, run
from ragrid.verify.finding import Finding, Status, verdict

INSTALL = "sudo apt-get install --no-install-recommends"
OLDEST_PYTHON = (3, 11)
PYTHON_FIX = "sudo apt-get install --no-install-recommends python3 python3-venv && make up"
VERSION_TIMEOUT_S = 10.0

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Program:
    """A program of a Debian package, at least of version `oldest`; `below` is the first version we have never run."""

    name: str
    package: str
    oldest: tuple[int, int]
    below: tuple[int, int]
    arguments: tuple[str, ...] = ("--version",)
    #: How it is installed, where it is not by its package alone.
    install: str = ""


@dataclass(frozen=True, slots=True)
class Library:
    """A file of a Debian package, found where one of `patterns` (below /) leads."""

    name: str
    package: str
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PythonPackage:
    """A Python package whose exact version matters, and why."""

    name: str
    version: str


NGINX = Program("nginx", "nginx", (1, 22), (1, 31), ("-v",))
ETCD = Program("etcd", "etcd-server", (3, 4), (3, 7))
CONSUL = Program("consul", "consul", (1, 8), (2, 0), ("version",))
PROMETHEUS = Program("prometheus", "prometheus", (2, 42), (4, 0))
#: Its package alone would start a database of Debian's, on the same port.
POSTGRES = Program("postgres", "postgresql", (15, 0), (16, 0), install="scripts/install-packages database")
NODE_EXPORTER = Program("prometheus-node-exporter", "prometheus-node-exporter", (1, 5), (2, 0))

#: What a grid with the default registry runs.
PROGRAMS = (NGINX, ETCD, PROMETHEUS, NODE_EXPORTER)
LIBRARIES = (
    Library("nginx Lua module", "libnginx-mod-http-lua", ("usr/lib/nginx/modules/ngx_http_lua_module.so",)),
    Library("nginx development kit module", "libnginx-mod-http-ndk", ("usr/lib/nginx/modules/ndk_http_module.so",)),
    Library("lua-resty-core", "lua-resty-core", ("usr/share/lua/5.1/resty/core.lua",)),
    Library("lua-resty-lrucache", "lua-resty-lrucache", ("usr/share/lua/5.1/resty/lrucache.lua",)),
    Library("lua-cjson", "lua-cjson", ("usr/lib/*/lua/5.1/cjson.so", "usr/lib/lua/5.1/cjson.so")),
)
#: The server inside this wheel is what we test; its disk format and its API are used beyond what it promises.
PYTHON_PACKAGES = (PythonPackage("chromadb", "1.5.9"),)


def programs_of(registry: str, executable: str, *, postgres: str | None = None) -> tuple[Program, ...]:
    """Return what a grid with this kind of registry runs; `executable` is its program, a name or a path.

    `postgres` is the path of PostgreSQL's server, where the grid runs one.
    """
    database = () if postgres is None else (replace(POSTGRES, name=postgres),)
    kept = replace(CONSUL if registry == "consul" else ETCD, name=executable)
    return (NGINX, kept, PROMETHEUS, NODE_EXPORTER, *database)


def look_at_program(program: Program) -> Finding:
    """Run `program` for its version and judge it."""
    try:
        path = find_program(program.name)
        said = run((str(path), *program.arguments), timeout_s=VERSION_TIMEOUT_S, check=False)
    except RagridError as error:
        return judge_program(program, None, str(error))
    return judge_program(program, path, said.stdout + said.stderr)


def judge_program(program: Program, path: Path | None, said: str) -> Finding:
    """Judge what `program` says about its version; `path` is None when it is not here, or cannot be run."""
    wanted = f"{_dotted(program.oldest)} or newer, below {_dotted(program.below)}"
    install = program.install or f"{INSTALL} {program.package}"
    if path is None:
        return Finding(program.name, "fail", said.partition(";")[0], wanted, install)
    match = _VERSION.search(said)
    if match is None:
        excerpt = " ".join(said.split())[:80]
        return Finding(program.name, "warn", f"{path} names no version: {excerpt!r}", wanted, f"{install} --reinstall")
    version = (int(match[1]), int(match[2]))
    status: Status = "fail" if version < program.oldest else "warn" if version >= program.below else "ok"
    fix = install if status == "fail" else "run it, or take the version of Debian 12; it was never tested with ragrid"
    return verdict(program.name, seen=f"{match[0]} at {path}", wanted=wanted, fix=fix, status=status)


def look_at_libraries(libraries: Iterable[Library], root: Path = Path("/")) -> tuple[Finding, ...]:
    """Find the file of each library below `root`."""
    return tuple(_judge_library(one, _files_of(one, root)) for one in libraries)


def look_at_python_package(package: PythonPackage) -> Finding:
    """Read the version of an installed Python package and judge it."""
    try:
        seen = importlib.metadata.version(package.name)
    except importlib.metadata.PackageNotFoundError:
        seen = "not installed"
    return verdict(
        f"python package {package.name}",
        seen=seen,
        wanted=f"{package.version} exactly",
        fix="make up (it installs what requirements/ pins)",
        status="ok" if seen == package.version else "fail",
    )


def judge_python(version: tuple[int, int]) -> Finding:
    """Judge the interpreter that runs us."""
    return verdict(
        "python",
        seen=_dotted(version),
        wanted=f"{_dotted(OLDEST_PYTHON)} or newer",
        fix=PYTHON_FIX,
        status="ok" if version >= OLDEST_PYTHON else "fail",
    )


def _files_of(library: Library, root: Path) -> list[Path]:
    return [path for pattern in library.patterns for path in root.glob(pattern)]


def _judge_library(library: Library, found: list[Path]) -> Finding:
    return verdict(
        library.name,
        seen=str(found[0]) if found else "not found",
        wanted=f"a file like /{library.patterns[0]}",
        fix=f"{INSTALL} {library.package}",
        status="ok" if found else "fail",
    )


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
