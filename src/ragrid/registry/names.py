"""Names that every registry product can keep, and the layout of our keys."""

import re

from ragrid.errors import UsageError

#: Letters, digits and `. _ : -`: nothing that means something in a path, a URL or a DNS label's neighbourhood.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
#: A key of the key-value store: names joined by single slashes.
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}(/[A-Za-z0-9][A-Za-z0-9._:-]{0,127}){0,15}")


def check_name(what: str, name: str) -> str:
    """Return `name`; raises UsageError when no registry could keep it. `what` says whose name it is."""
    if not _NAME.fullmatch(name):
        message = f"{what}: got {name!r}, wanted 1 to 128 letters, digits or . _ : - beginning with a letter or digit"
        raise UsageError(message)
    return name


def check_key(key: str) -> str:
    """Return `key`; raises UsageError unless it is at most 16 names joined by single slashes."""
    if not _KEY.fullmatch(key):
        raise UsageError(
            f"registry key: got {key!r}, wanted at most 16 names of letters, digits or . _ : - joined by /"
        )
    return key


def services_prefix(namespace: str) -> str:
    """Return what the keys of all registrations of `namespace` begin with."""
    return f"/ragrid/{check_name('registry namespace', namespace)}/services/"


def instance_key(namespace: str, service: str, instance_id: str) -> str:
    """Return the key of one registration."""
    return f"{services_prefix(namespace)}{check_name('service', service)}/{check_name('instance id', instance_id)}"


def value_key(namespace: str, key: str) -> str:
    """Return the full key of one value of the key-value store; it never lies under `services_prefix`."""
    return f"/ragrid/{check_name('registry namespace', namespace)}/values/{check_key(key)}"
