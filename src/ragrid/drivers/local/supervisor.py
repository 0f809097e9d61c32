"""supervisord: its configuration (pure) and its remote control (XML-RPC over a unix socket)."""

import http.client
import socket
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from ragrid.drivers.local.layout import Layout
from ragrid.drivers.local.part import Part
from ragrid.errors import RagridError, UnreachableError
from ragrid.system import owned
from ragrid.system.log_files import LIMIT_BYTES

#: supervisord waits one second longer before each retry; this many retries span an hour, then the part is FATAL.
RETRIES = 85
_ANSWER_S = 2.0
_QUESTION = xmlrpc.client.dumps((), "supervisor.getPID").encode()
_WHO_IS_THERE = (
    b"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % len(_QUESTION)
) + _QUESTION
_ALREADY_STARTED = 60  # supervisor.xmlrpc.Faults.ALREADY_STARTED
_ALREADY_ADDED = 90  # supervisor.xmlrpc.Faults.ALREADY_ADDED
_BAD_NAME = 10  # supervisor.xmlrpc.Faults.BAD_NAME


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What the supervisor says of one part. `since_s` is the start of the present state, seconds since the epoch."""

    name: str
    state: str
    pid: int
    since_s: float
    description: str


def render_supervisor(layout: Layout) -> bytes:
    """Return supervisord.conf; the programs lie beside it, one file each, so that each step changes one of them."""
    return _escape(f"""; Rendered by ragrid. By hand: supervisord -n -c {layout.etc / "supervisord.conf"}
[supervisord]
logfile = {layout.log / "supervisor.log"}
logfile_maxbytes = {LIMIT_BYTES}
logfile_backups = 1
pidfile = {layout.run / "supervisor.pid"}
childlogdir = {layout.log}
directory = {layout.root}
umask = 077

[unix_http_server]
file = {layout.supervisor_socket}
chmod = 0600

[supervisorctl]
serverurl = unix://{layout.supervisor_socket}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = {layout.etc / "programs"}/*.conf
""").encode()


def render_program(layout: Layout, part: Part, python: Path) -> bytes:
    """Return the section of one part."""
    secrets = (f"--secret={name}={file}" for name, file in sorted(part.secret_environment.items()))
    command = (str(python), "-m", "ragrid.drivers.local.launch", *secrets, str(layout.root), part.name, *part.command)
    environment = {**part.environment, owned.MARK: owned.mark_of(layout.root, part.name)}
    return _escape(f"""[program:{part.name}]
command = {" ".join(_quote(word) for word in command)}
environment = {",".join(f"{name}={_quote(value)}" for name, value in sorted(environment.items()))}
directory = {layout.root}
priority = {part.priority}
autostart = true
autorestart = true
startsecs = 1
startretries = {RETRIES}
stopsignal = {part.stop_signal}
stopwaitsecs = {part.stop_wait_s:g}
killasgroup = true
stdout_logfile = NONE
stderr_logfile = NONE
""").encode()


def _quote(word: str) -> str:
    if any(character in word for character in "\n\r\0"):
        raise ValueError(f"{word!r}: holds a line end, which a command line of the supervisor cannot carry")
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escape(text: str) -> str:
    return text.replace("%", "%%")


class SupervisorControl:
    """Remote control of the supervisor that listens on `socket_path`; one object serves one thread."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    def is_alive(self) -> bool:
        """Tell whether the supervisor answers within 2 s.

        That somebody accepts the connection is not enough: the socket of a killed process is open for a moment longer
        than the process can be seen, and that of a hung one for ever.
        """
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_ANSWER_S)
            try:
                client.connect(str(self._socket_path))
                client.sendall(_WHO_IS_THERE)
                return client.recv(len(b"HTTP/1.")) == b"HTTP/1."
            except OSError:
                return False

    def processes(self) -> tuple[ProcessState, ...]:
        """Return the state of every part that the supervisor knows."""
        seen: Any = self._call("getAllProcessInfo")
        return tuple(
            ProcessState(
                str(one["name"]),
                str(one["statename"]),
                int(one["pid"]),
                float(one["start"] or one["stop"]),
                str(one["spawnerr"] or one["description"]),
            )
            for one in seen
        )

    def load(self, name: str) -> None:
        """Make the supervisor take `name` as its configuration file now has it, and start it."""
        self._call("reloadConfig")
        self._tolerate(_ALREADY_ADDED, "addProcessGroup", name)

    def unload(self, name: str) -> None:
        """Stop `name` and make the supervisor forget it; one that is not known is no error."""
        self._tolerate(_BAD_NAME, "stopProcessGroup", name, True)
        self._tolerate(_BAD_NAME, "removeProcessGroup", name)

    def start(self, name: str) -> None:
        """Start `name` when the supervisor has given up on it; one that runs is no error."""
        self._tolerate(_ALREADY_STARTED, "startProcess", name, False)

    def signal(self, name: str, signal_name: str) -> None:
        """Send `signal_name` (such as HUP) to the process of `name`."""
        self._call("signalProcess", name, signal_name)

    def shut_down(self) -> None:
        """Stop every part and then the supervisor; returns at once."""
        self._call("shutdown")

    def _tolerate(self, code: int, method: str, *arguments: object) -> None:
        try:
            self._call(method, *arguments)
        except RefusedError as fault:
            if fault.code != code:
                raise

    def _call(self, method: str, *arguments: object) -> object:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket_path}")
        try:
            proxy = xmlrpc.client.ServerProxy("http://supervisor", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise RefusedError(method, arguments, fault) from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise UnreachableError(
                f"{self._socket_path}: the supervisor does not answer ({error}); run `ragrid up` to start it"
            ) from error
        finally:
            transport.close()


class RefusedError(RagridError):
    """The supervisor refused a call."""

    def __init__(self, method: str, arguments: Sequence[object], fault: xmlrpc.client.Fault) -> None:
        words = " ".join(str(argument) for argument in arguments)
        super().__init__(f"supervisor: {method} {words}: {fault.faultString}; see `ragrid logs supervisor`")
        self.code = int(fault.faultCode)


def states_by_name(control: SupervisorControl) -> Mapping[str, ProcessState]:
    """Return the states of all parts by name, and none at all when the supervisor is not there."""
    if not control.is_alive():
        return {}
    return {state.name: state for state in control.processes()}
