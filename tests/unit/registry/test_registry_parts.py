"""The registry's pure pieces: names, stored values, the order of servers, what counts as unavailable."""

import contextlib
import logging
import ssl
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.errors import MissingError, UnreachableError, UsageError
from ragrid.registry.codec import ForeignValues, decode_instance, encode_instance
from ragrid.registry.consul import ConsulRegistry
from ragrid.registry.etcd import EtcdRegistry
from ragrid.registry.http import COOL_DOWN_S, Answer, Endpoints, RegistryHttp, is_unavailable
from ragrid.registry.names import check_key, instance_key, services_prefix, value_key
from ragrid.registry.open import open_registry
from ragrid.registry.protocol import Instance
from ragrid.spec.settings import RegistryAddress
from ragrid.system.clock import ManualClock

TEXT = st.text(max_size=300)
INSTANCES = st.builds(
    Instance,
    service=st.just("memory"),
    instance_id=st.just("memory-sark"),
    host=st.text(min_size=1, max_size=255),
    port=st.integers(1, 65535),
    version=TEXT,
    weight=st.integers(0, 1_000_000),
    draining=st.booleans(),
    meta=st.dictionaries(TEXT, TEXT, max_size=3),
)


@given(INSTANCES)
def test_instance_survives_being_stored(instance: Instance) -> None:
    stored = encode_instance(instance)
    assert decode_instance("memory", "memory-sark", stored) == instance


def test_stored_form_does_not_depend_on_the_order_of_meta() -> None:
    one = Instance("a", "b", "h", 1, meta={"x": "1", "y": "2"})
    other = Instance("a", "b", "h", 1, meta={"y": "2", "x": "1"})
    assert encode_instance(one) == encode_instance(other)


def test_members_of_a_newer_version_are_let_be() -> None:
    assert decode_instance("a", "b", b'{"host":"h","port":1,"zone":"x"}') == Instance("a", "b", "h", 1)


@given(st.binary(max_size=200))
def test_foreign_bytes_are_a_value_error_or_an_instance(value: bytes) -> None:
    with contextlib.suppress(ValueError):  # any other error fails the test
        assert decode_instance("a", "b", value).port > 0


def test_foreign_value_is_reported_once_for_each_revision(caplog: pytest.LogCaptureFixture) -> None:
    foreign = ForeignValues()
    with caplog.at_level(logging.WARNING):
        for revision in (1, 1, 1, 2):
            foreign.report("/ragrid/tron/services/x", revision, "not ours")
    assert len(caplog.records) == 2


def test_keys_lie_where_the_documentation_says() -> None:
    assert instance_key("tron", "memory", "memory-sark") == "/ragrid/tron/services/memory/memory-sark"
    assert value_key("tron", "gateway/leader") == "/ragrid/tron/values/gateway/leader"
    assert not value_key("tron", "services/x").startswith(services_prefix("tron"))


@pytest.mark.parametrize("key", ["", "/", "a/", "/a", "a//b", "..", "a/../b", "a b", "a\n", "/".join("a" * 17)])
def test_bad_keys_are_refused(key: str) -> None:
    with pytest.raises(UsageError, match="registry key"):
        check_key(key)


def test_failed_server_is_tried_last_until_it_has_cooled_down() -> None:
    endpoints = Endpoints("http://a:1/, http://b:2,http://c:3")
    assert endpoints.order(0.0) == ("http://a:1", "http://b:2", "http://c:3")
    endpoints.failed("http://a:1", 0.0)
    assert endpoints.order(1.0) == ("http://b:2", "http://c:3", "http://a:1")
    endpoints.failed("http://b:2", 2.0)
    assert endpoints.order(3.0) == ("http://c:3", "http://a:1", "http://b:2")
    assert endpoints.order(COOL_DOWN_S) == ("http://a:1", "http://c:3", "http://b:2")
    endpoints.answered("http://b:2")
    assert endpoints.order(COOL_DOWN_S) == ("http://a:1", "http://b:2", "http://c:3")


@pytest.mark.parametrize("url", ["", ",", "127.0.0.1:2379", "ftp://a", "http://a,b"])
def test_bad_addresses_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="registry address"):
        Endpoints(url)


@pytest.mark.parametrize(
    ("status", "text", "unavailable"),
    [
        (200, "", False),
        (404, "no leader", False),
        (500, "No cluster leader", True),
        (500, "etcdserver: no leader", True),
        (500, "something else", False),
        (503, "", True),
        (504, "", True),
    ],
)
def test_unavailable(status: int, text: str, unavailable: bool) -> None:
    assert is_unavailable(Answer(status, None, text, {})) is unavailable


def test_settings_choose_the_product(tmp_path: Path) -> None:
    etcd = RegistryAddress(kind="etcd", url="http://a:1,http://b:2", namespace="tron")
    consul = RegistryAddress(kind="consul", url="http://a:1", namespace="tron")
    assert isinstance(open_registry(etcd, clock=ManualClock()), EtcdRegistry)
    assert isinstance(open_registry(consul, clock=ManualClock()), ConsulRegistry)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (RegistryAddress(kind="etcd", url="http://a:1", namespace="a/b"), UsageError),
        (RegistryAddress(kind="consul", url="http://a:1,http://b:1", namespace="tron"), UsageError),
        (RegistryAddress(kind="etcd", url="https://a:1", namespace="tron", ca_file=Path("/nowhere")), MissingError),
        (RegistryAddress(kind="consul", url="http://a:1", namespace="tron", token_file=Path("/nowhere")), MissingError),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(address: RegistryAddress, error: type[Exception]) -> None:
    with pytest.raises(error):
        open_registry(address, clock=ManualClock())


@pytest.mark.parametrize("error", [ssl.SSLError(1, "alert bad certificate"), httpx.ReadError("reset"), TimeoutError()])
async def test_every_way_of_not_answering_is_unreachable(error: Exception) -> None:
    """Named regression: a server's TLS alert that came while its answer was read went through as an ssl.SSLError."""

    async def break_off(_: httpx.Request) -> httpx.Response:
        raise error

    address = RegistryAddress(kind="etcd", url="http://a:1,http://b:2", namespace="tron")
    http = RegistryHttp(address, clock=ManualClock(), transport=httpx.MockTransport(break_off))
    with pytest.raises(UnreachableError, match="http://b:2"):
        await http.call("POST", "/v3/kv/range", body={})
    await http.close()
