"""One kind of registry behind one handle: open it, take it away, bring it back."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Literal

from ragrid.registry.memory import MemoryRegistry
from ragrid.registry.open import open_registry
from ragrid.registry.protocol import Registry
from ragrid.spec.settings import RegistryAddress
from ragrid.system.clock import SystemClock
from support.registry_servers import Server

_NAMESPACES = itertools.count()


class Product:
    """One kind of registry; every test gets a namespace of its own in it."""

    def __init__(self, kind: str, server: Server | None) -> None:
        self.kind = kind
        self.server = server
        self.namespace = f"test-{next(_NAMESPACES)}"
        self._memory = MemoryRegistry(clock=SystemClock())

    def open(self, namespace: str | None = None) -> Registry:
        if self.server is None:
            return self._memory if namespace is None else MemoryRegistry(clock=SystemClock())
        return open_registry(self.address(namespace), clock=SystemClock())

    def address(self, namespace: str | None = None, url: str | None = None) -> RegistryAddress:
        assert self.server is not None
        kind: Literal["etcd", "consul"] = "etcd" if self.kind == "etcd" else "consul"
        return RegistryAddress(kind=kind, url=url or self.server.url, namespace=namespace or self.namespace)

    def start_anew(self) -> None:
        """Make the registry lose everything, and its index start anew."""
        if self.server is None:
            self._memory.lose_everything()
        else:
            self.server.start_anew()

    @contextlib.contextmanager
    def taken_away(self, signal_number: int) -> Iterator[None]:
        """Make the registry unreachable by a signal while the block runs; memory has a switch for it."""
        if self.server is None:
            self._memory.reachable = False
            yield
            self._memory.reachable = True
        else:
            with self.server.signalled(signal_number):
                yield
