"""What the server's files let in and what they promise."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from ragrid.errors import StateError
from ragrid.services.database import cluster
from ragrid.services.database.accounts import ITERATIONS, verifier_of
from ragrid.services.database.configuration import configuration_files, quoted
from ragrid.spec.settings import DatabaseAccount, DatabaseSettings, Listen

SETTINGS = DatabaseSettings(
    listen=Listen(port=9187),
    host="10.0.0.1",
    port=5432,
    programs_directory=Path("/opt/bin"),
    data_directory=Path("/srv/data"),
    run_directory=Path("/srv/run"),
    certificate_file=Path("/srv/server.crt"),
    key_file=Path("/srv/server.key"),
    accounts=(DatabaseAccount(name="one", password_file=Path("/srv/one")),),
)
FILES = configuration_files(SETTINGS, administrators=("postgres", "root"))


def test_nobody_comes_in_but_accounts_by_tls_and_administrators_by_the_private_socket() -> None:
    assert FILES["pg_hba.conf"] == "local all postgres peer map=keeper\nhostssl one one all scram-sha-256\n"
    assert FILES["pg_ident.conf"] == 'keeper "postgres" postgres\nkeeper "root" postgres\n'


@pytest.mark.parametrize(
    "line", ["fsync = 'on'", "synchronous_commit = 'on'", "ssl = 'on'", "listen_addresses = '10.0.0.1'"]
)
def test_what_is_promised_is_written_down(line: str) -> None:
    assert line in FILES["postgresql.conf"].splitlines()


def test_text_stays_text() -> None:
    assert quoted("it's") == "'it''s'"


def test_the_server_is_given_a_verifier_and_never_a_password() -> None:
    verifier = verifier_of("pencil", salt=b"0123456789abcdef")
    method, middle, keys = verifier.split("$")
    stored, server = keys.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", b"0123456789abcdef", 4096)
    assert (method, middle) == ("SCRAM-SHA-256", f"{ITERATIONS}:{base64.b64encode(b'0123456789abcdef').decode()}")
    assert base64.b64decode(server) == hmac.digest(salted, b"Server Key", "sha256")
    assert len(base64.b64decode(stored)) == 32
    assert verifier_of("pencil") != verifier_of("pencil")


def test_root_without_anybody_to_run_it_as_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(cluster, "UNPRIVILEGED", ("no-such-user-1", "no-such-user-2"))
    with pytest.raises(StateError, match="no-such-user-1 or no-such-user-2"):
        cluster.server_owner()
