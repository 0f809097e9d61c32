"""Start nginx so that it comes back after any death: `python -m ragrid.gateway.launch DIRECTORY`.

A killed nginx leaves its admin socket behind, and the next one would refuse to start over it. This removes a socket
that nobody listens on, makes the folders that nginx needs, and then becomes nginx (same pid, so a supervisor's signals
reach it).
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from ragrid.errors import ConflictError, RagridError, UsageError
from ragrid.gateway.config import GatewayConfig
from ragrid.system.process import find_program


def nginx_command(directory: Path) -> tuple[str, ...]:
    """Return the command that runs the rendered files in `directory` in the foreground."""
    program = find_program("nginx", package="nginx-light libnginx-mod-http-lua lua-cjson")
    return (str(program), "-p", f"{directory}/", "-c", "nginx.conf", "-e", "stderr")


def prepare(*, run_directory: Path, log_directory: Path, admin_socket: Path) -> None:
    """Make what nginx needs and remove what a dead one left.

    Raises ConflictError when another nginx answers on the admin socket.
    """
    for directory in (run_directory, log_directory, admin_socket.parent):
        directory.mkdir(parents=True, exist_ok=True)
    run_directory.chmod(0o700)
    if not admin_socket.exists():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(admin_socket))
        except OSError:
            admin_socket.unlink()
            return
    raise ConflictError(f"{admin_socket}: another gateway answers there; stop it first (`ragrid down`)")


def prepare_for(config: GatewayConfig) -> None:
    """`prepare`, from the configuration that the files were rendered from."""
    prepare(run_directory=config.run_directory, log_directory=config.log_directory, admin_socket=config.admin_socket)


def become_nginx(arguments: list[str]) -> NoReturn:
    """Replace this process by the nginx of the directory in `arguments`."""
    if len(arguments) != 1:
        raise UsageError("usage: python -m ragrid.gateway.launch DIRECTORY")
    directory = Path(arguments[0]).resolve()
    places = json.loads((directory / "policy.json").read_bytes())["places"]
    prepare(**{name: Path(path) for name, path in places.items()})
    command = nginx_command(directory)
    os.execv(command[0], command)  # noqa: S606 - an argv tuple, no shell; the process must keep its pid


def main() -> None:
    """Start; when that fails, say why and end with the error's exit code."""
    try:
        become_nginx(sys.argv[1:])
    except (RagridError, OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"ragrid: gateway: {error}\n")
        sys.exit(error.exit_code if isinstance(error, RagridError) else 1)


if __name__ == "__main__":
    main()
