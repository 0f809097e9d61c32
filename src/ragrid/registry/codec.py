"""Instances to bytes and back; whatever is not ours is refused, never guessed at."""

import logging
from typing import Annotated

import msgspec

from ragrid.registry.names import check_name
from ragrid.registry.protocol import Instance

logger = logging.getLogger(__name__)

#: How many foreign values are remembered as reported; beyond it the memory starts anew and they are reported again.
_REMEMBERED = 1000


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The value under an instance's key. Unknown members are let be: a newer ragrid may have written them."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    version: str = ""
    weight: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1
    draining: bool = False
    meta: dict[str, str] = {}


def encode_instance(instance: Instance) -> bytes:
    """Return the stored form of `instance`, without its name (that is in the key); same bytes for equal instances."""
    stored = _Stored(
        host=instance.host,
        port=instance.port,
        version=instance.version,
        weight=instance.weight,
        draining=instance.draining,
        meta=dict(sorted(instance.meta.items())),
    )
    return msgspec.json.encode(stored)


def decode_instance(service: str, instance_id: str, value: bytes) -> Instance:
    """Return the instance that `value` holds; raises ValueError when it is not one of ours."""
    stored = msgspec.json.decode(value, type=_Stored)
    return Instance(
        service=service,
        instance_id=instance_id,
        host=stored.host,
        port=stored.port,
        version=stored.version,
        weight=stored.weight,
        draining=stored.draining,
        meta=stored.meta,
    )


def check_instance(instance: Instance) -> Instance:
    """Return `instance`; raises UsageError for a bad name and ValueError for a value that `list` would skip."""
    check_name("service", instance.service)
    check_name("instance id", instance.instance_id)
    decode_instance(instance.service, instance.instance_id, encode_instance(instance))
    return instance


class ForeignValues:
    """Reports each value that is not ours once, however often it is read."""

    def __init__(self) -> None:
        self._reported: set[tuple[str, int]] = set()

    def report(self, key: str, revision: int, reason: str) -> None:
        """Log one WARNING for this revision of `key`; later calls for the same one stay silent."""
        if (key, revision) in self._reported:
            return
        if len(self._reported) >= _REMEMBERED:
            self._reported.clear()
        self._reported.add((key, revision))
        logger.warning("skipped a registry value that is not ours", extra={"key": key, "reason": reason})
