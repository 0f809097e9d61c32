"""Who this agent is, in the registry: so that two agents which are told to look after one instance never fight over it.

Invariant: an instance in the registry that carries another agent's identity is not registered by this one. It leaves
with that agent's lease, and only then does this agent take it.
"""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from ragrid.errors import ConflictError
from ragrid.registry.protocol import Instance

#: The member of an instance's `meta` that names the agent which registered it.
OWNER = "agent"


def other_owner(wanted: Instance, listed: Iterable[Instance]) -> str:
    """Return the identity of another agent under whose lease `wanted` stands in `listed`; empty when there is none.

    One that names no agent was registered by hand or by an older version, and is replaced.
    """
    for one in listed:
        if (one.service, one.instance_id) == (wanted.service, wanted.instance_id):
            owner = one.meta.get(OWNER, "")
            return owner if owner != wanted.meta.get(OWNER) else ""
    return ""


@contextlib.contextmanager
def held_identity(status_file: Path, host_name: str) -> Iterator[str]:
    """Hold this agent's identity, kept beside its status file: the same one after a restart, never two at a time.

    Raises ConflictError when another process holds it.
    """
    path = status_file.with_suffix(".id")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"{path}: another agent runs with these settings; stop it first") from error
        kept = os.read(handle, 200).decode(errors="replace").strip()
        if not kept:
            kept = f"{host_name}/{uuid.uuid4().hex}"
            os.pwrite(handle, kept.encode(), 0)
            os.fsync(handle)
        yield kept
    finally:
        os.close(handle)
