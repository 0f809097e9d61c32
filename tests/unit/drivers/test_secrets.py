"""Secrets are made once, privately, and never made anew by accident."""

import json
from pathlib import Path

import pytest
from cryptography import x509

from ragrid.drivers.local.parts_control import consul_acl
from ragrid.drivers.local.secrets import SecretStore
from ragrid.errors import StateError
from ragrid.system.certificates import RENEW_BEFORE, KeyPair, make_authority, make_leaf, still_serves

NOW_S = 1_800_000_000.0


@pytest.fixture(scope="module")
def authority() -> KeyPair:
    return make_authority("test CA", now_s=NOW_S)


def test_every_secret_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    store = SecretStore(tmp_path)
    authority = store.ensure_authority("tron", now_s=NOW_S)
    assert store.ensure_leaf(authority, "gateway", ["localhost", "127.0.0.1"], now_s=NOW_S)
    store.ensure_client_secrets(["admin", "reader"])
    private = [store.key("ca"), store.key("gateway"), store.client_secret("admin"), store.client_secret("reader")]
    assert [path.stat().st_mode & 0o777 for path in private] == [0o600] * 4
    assert store.client_secret("admin").read_text() != store.client_secret("reader").read_text()
    assert len(store.client_secret("admin").read_text()) >= 43


def test_the_registry_token_is_made_once_and_private(tmp_path: Path) -> None:
    store = SecretStore(tmp_path)
    token = store.ensure_registry_token()
    assert store.ensure_registry_token() == token == store.registry_token.read_text()
    assert len(token) == 36
    assert store.registry_token.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("version", "name"),
    [("1.8.7", "master"), ("1.10.0", "master"), ("1.11.0", "initial_management"), ("unknown", "initial_management")],
)
def test_consul_is_given_its_token_by_the_name_that_its_version_knows(version: str, name: str) -> None:
    assert json.loads(consul_acl("abc", version=version)) == {"acl": {"tokens": {name: "abc", "agent": "abc"}}}


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    store = SecretStore(tmp_path)
    authority = store.ensure_authority("tron", now_s=NOW_S)
    store.ensure_leaf(authority, "gateway", ["localhost"], now_s=NOW_S)
    store.ensure_client_secrets(["admin"])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert store.ensure_authority("tron", now_s=NOW_S + 1) == authority
    assert not store.ensure_leaf(authority, "gateway", ["localhost"], now_s=NOW_S + 1)
    store.ensure_client_secrets(["admin"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("lost", ["ca.crt", "ca.key"])
def test_half_an_authority_is_refused(tmp_path: Path, lost: str) -> None:
    store = SecretStore(tmp_path)
    store.ensure_authority("tron", now_s=NOW_S)
    (tmp_path / lost).unlink()
    with pytest.raises(StateError, match="missing beside its other half"):
        store.ensure_authority("tron", now_s=NOW_S)


def test_a_leaf_is_signed_by_the_authority_for_its_names_only(authority: KeyPair) -> None:
    leaf = x509.load_pem_x509_certificate(make_leaf(authority, "x", ["grid.test", "::1"], now_s=NOW_S).certificate)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["grid.test"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["::1"]


def test_a_leaf_serves_until_near_its_end_and_for_its_names(authority: KeyPair) -> None:
    leaf = make_leaf(authority, "x", ["grid.test"], now_s=NOW_S).certificate
    end_s = x509.load_pem_x509_certificate(leaf).not_valid_after_utc.timestamp()
    assert still_serves(leaf, ["grid.test"], now_s=end_s - RENEW_BEFORE.total_seconds() - 1)
    assert not still_serves(leaf, ["grid.test"], now_s=end_s - RENEW_BEFORE.total_seconds() + 1)
    assert not still_serves(leaf, ["grid.test", "other.test"], now_s=NOW_S)
