"""A backend in a process of its own that stops itself (SIGSTOP) while requests are on it, and says what reached it."""

import contextlib
import signal
import sys
import time
from pathlib import Path

import psutil

from support import after_kill

_PROGRAM = """
import http.server, os, signal, socket, ssl, sys, threading

host, port, log, certificate, key, authority = sys.argv[1:]
resumed = threading.Event()
once = threading.Lock()
# the process says what reached it in one write each, so that a reader sees whole lines
notes = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.path.rpartition("/")[2]
        if kind in ("hold", "begin", "freeze", "ask"):
            os.write(notes, f"{self.command} {kind}\\n".encode())
        if kind == "begin":
            return self.begin()
        if kind == "freeze" and once.acquire(blocking=False):  # one that was taken from here may be read later
            os.kill(os.getpid(), signal.SIGSTOP)
        if kind in ("hold", "ask", "freeze"):
            resumed.wait()
        self.head("Content-Length", "22")
        self.wfile.write(b'{"backend": "hanging"}')

    def head(self, name, value):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header(name, value)
        self.end_headers()

    def begin(self):
        self.head("Transfer-Encoding", "chunked")
        self.wfile.write(b"7\\r\\nhanging\\r\\n")
        resumed.wait()
        self.wfile.write(b"5\\r\\n ends\\r\\n0\\r\\n\\r\\n")

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a connection that was cut is what this is about

server = Server((host, int(port)), Handler)
if certificate:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
signal.signal(signal.SIGCONT, lambda *_: resumed.set())
os.write(notes, b"ready\\n")
server.serve_forever()
"""


class HangingInstance:
    """Requests to `…/hold` and `…/ask` wait, `…/begin` begins an answer and waits, `…/freeze` stops the process.

    All of them end after `go_on`.
    """

    def __init__(self, directory: Path, port: int, *, host: str = "127.0.0.1", tls: tuple[Path, ...] = ()) -> None:
        """Start it; `tls`: files of its certificate, key, and the authority of those who may ask."""
        self.host, self.port = host, port
        self._log = directory / f"instance-{port}.log"
        files = [str(file) for file in tls] or ["", "", ""]
        self.process = after_kill.start((sys.executable, "-c", _PROGRAM, host, str(port), str(self._log), *files))

    def reached(self) -> list[str]:
        """Return what reached it, line by line: `POST hold`."""
        with contextlib.suppress(FileNotFoundError):
            return self._log.read_text().splitlines()
        return []

    @property
    def is_stopped(self) -> bool:
        """It hangs."""
        return psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED

    def go_on(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it where it is."""
        self.process.send_signal(signal.SIGSTOP)
        while not self.is_stopped:
            time.sleep(0.001)

    def end(self) -> None:
        """End the process, hung or not."""
        self.process.kill()
        self.process.wait(10)
