"""From settings to the registry they name."""

from ragrid.registry.consul import ConsulRegistry
from ragrid.registry.etcd import EtcdRegistry
from ragrid.registry.protocol import Registry
from ragrid.spec.settings import RegistryAddress
from ragrid.system.clock import Clock


def open_registry(address: RegistryAddress, *, clock: Clock) -> Registry:
    """Return the registry at `address`; nothing is connected to before the first call.

    Raises UsageError for a bad URL or namespace, MissingError for a certificate that cannot be read.
    """
    if address.kind == "consul":
        return ConsulRegistry(address, clock=clock)
    return EtcdRegistry(address, clock=clock)
