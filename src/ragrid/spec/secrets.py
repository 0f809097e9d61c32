"""References to secrets: the only place where the secrets of a grid are read."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ragrid.errors import MissingError
from ragrid.spec.values import SecretReference

#: Largest secret, bytes; a larger file is surely not one.
MAX_SECRET_BYTES = 16 * 1024


def resolve_secret(
    reference: SecretReference, *, environment: Mapping[str, str] | None = None, base: Path | None = None
) -> str:
    """Return the secret that `reference` points at, without surrounding white space.

    `environment` defaults to this process's own; a relative file is looked for in `base`, the grid file's folder.
    Raises MissingError when it is unset, empty, unreadable, not one line of text, or a file that others may read.
    """
    if reference.kind == "env":
        found = (os.environ if environment is None else environment).get(reference.name)
        if found is None:
            raise MissingError(f"{reference}: the variable is not set; run `export {reference.name}=…` first")
        return _checked(found, reference)
    return _checked(_read((base or Path()) / reference.name, reference), reference)


def _read(path: Path, reference: SecretReference) -> str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise MissingError(f"{reference}: {path}: {reason}; write the secret there with mode 0600") from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise MissingError(f"{reference}: {path}: not a file; write the secret into a file with mode 0600")
    with os.fdopen(handle, "rb") as file:
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            mode = stat.S_IMODE(status.st_mode)
            raise MissingError(f"{reference}: {path}: others may use it (mode {mode:04o}); run `chmod 0600 {path}`")
        content = file.read(MAX_SECRET_BYTES + 1)
    if len(content) > MAX_SECRET_BYTES:
        raise MissingError(f"{reference}: {path}: over {MAX_SECRET_BYTES} bytes; is it the right file?")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise MissingError(f"{reference}: {path}: not UTF-8 text; is it the right file?") from error


def _checked(found: str, reference: SecretReference) -> str:
    secret = found.strip()
    if not secret:
        raise MissingError(f"{reference}: it is empty; put the secret there")
    if not secret.isprintable():
        raise MissingError(f"{reference}: it holds control characters or several lines; put one line there")
    return secret
