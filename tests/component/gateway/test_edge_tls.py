"""The TLS side: certificates, the redirect, HTTP/2, and an unmodified ChromaDB client over it."""

import contextlib
import json
import os
import ssl
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ragrid.gateway.config import Tls
from ragrid.system.process import run

READ = "/memory/v1/collections/c/records/1"


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """A certificate for localhost that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = Tls(certificate_file=tmp_path / "edge.crt", key_file=tmp_path / "edge.key")
    files.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.fixture
def tls_edge(edges: Any, ports: Any, tls: Tls) -> Any:
    return edges(tls=tls, https_port=ports(1)[0])


def test_plain_http_only_points_to_https(tls_edge: Any, backends: Any, endpoint: Any, tls: Tls) -> None:
    backend = backends()
    tls_edge.push({"memory": [endpoint(backend.port)]})
    plain = f"http://localhost:{tls_edge.config.http_port}"
    for path in (READ, "/nope", "/v1/models?x=1"):
        answer = httpx.post(plain + path, headers=tls_edge.signer.bearer())
        assert answer.status_code == 308
        assert answer.headers["location"] == f"https://localhost:{tls_edge.config.https_port}{path}"
    assert httpx.get(plain + "/health").status_code == 200
    assert not backend.seen()
    trust = ssl.create_default_context(cafile=str(tls.certificate_file))
    assert httpx.get(tls_edge.url + READ, headers=tls_edge.signer.bearer(), verify=trust).status_code == 200
    assert backend.seen()[-1]["headers"]["X-Forwarded-Proto"] == "https"


@pytest.mark.parametrize(
    ("version", "accepted"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
def test_only_modern_tls_is_spoken(tls_edge: Any, tls: Tls, version: ssl.TLSVersion, *, accepted: bool) -> None:
    with pytest.warns(DeprecationWarning, match="TLSv1_1") if not accepted else contextlib.nullcontext():
        context = ssl.create_default_context(cafile=str(tls.certificate_file))
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    if accepted:
        assert httpx.get(tls_edge.url + "/health", verify=context).status_code == 200
    else:
        with pytest.raises(httpx.ConnectError):
            httpx.get(tls_edge.url + "/health", verify=context)


@pytest.mark.parametrize(
    ("option", "spoken"),
    [("-tls1", None), ("-tls1_1", None), ("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")],
)
def test_openssl_is_refused_what_is_not_modern(tls_edge: Any, option: str, spoken: str | None) -> None:
    """Even a client that would take anything gets no old version and no cipher without forward secrecy."""
    port = tls_edge.config.https_port
    command = ("openssl", "s_client", "-connect", f"127.0.0.1:{port}", option, "-brief")
    low = () if option == "-tls1_3" else ("-cipher", "ALL:@SECLEVEL=0")
    done = run((*command, *low), timeout_s=20, stdin=b"", check=False)
    if spoken is None:
        assert done.exit_code != 0
        assert "CONNECTION ESTABLISHED" not in done.stderr
        return
    assert f"Protocol version: {spoken}" in done.stderr
    cipher = done.stderr.partition("Ciphersuite: ")[2].split()[0]
    assert cipher.startswith(("ECDHE-", "TLS_")), cipher
    assert "GCM" in cipher or "POLY1305" in cipher, cipher


@pytest.mark.parametrize("ciphers", ["kRSA", "aNULL", "ECDHE+AES+SHA1", "ECDHE+AES+SHA256:!AESGCM", "3DES"])
def test_no_cipher_without_forward_secrecy_is_taken(tls_edge: Any, ciphers: str) -> None:
    command = ("openssl", "s_client", "-connect", f"127.0.0.1:{tls_edge.config.https_port}", "-tls1_2", "-brief")
    done = run((*command, "-cipher", f"{ciphers}:@SECLEVEL=0"), timeout_s=20, stdin=b"", check=False)
    assert "CONNECTION ESTABLISHED" not in done.stderr


def test_a_request_over_http2_is_answered(tls_edge: Any, backends: Any, endpoint: Any, tls: Tls) -> None:
    """curl speaks it; the look-up of a collection, a call of the edge's own, happens in it as well."""
    backend = backends()
    tls_edge.push({"memory": [endpoint(backend.port)], "chromadb": [endpoint(backend.port)]})
    token = tls_edge.signer.token()
    for path in (READ, "/api/v2/tenants/default_tenant/databases/d/collections/c/count"):
        command = (
            "curl",
            "-sS",
            "--http2",
            "--cacert",
            str(tls.certificate_file),
            "-w",
            " %{http_version} %{http_code}",
        )
        done = run((*command, "-H", f"Authorization: Bearer {token}", tls_edge.url + path), timeout_s=20)
        assert done.stdout.endswith(" 2 200"), done.stdout


def test_http2_is_offered(tls_edge: Any, tls: Tls) -> None:
    import socket  # noqa: PLC0415 - used here only

    context = ssl.create_default_context(cafile=str(tls.certificate_file))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", tls_edge.config.https_port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as wrapped,
    ):
        assert wrapped.selected_alpn_protocol() == "h2"


def test_plain_http_on_the_tls_port_is_a_problem(tls_edge: Any, raw_request: Any) -> None:
    status, answer = raw_request(tls_edge.config.https_port, "GET /health HTTP/1.1")
    assert status == 400
    assert "application/problem+json" in answer


#: A user's program. In a process of its own: the client never closes its connections, and pytest would complain of it.
_PROGRAM = """
import chromadb, json, sys
port, tokens = int(sys.argv[1]), json.loads(sys.argv[2])

def client(name):
    headers = {"Authorization": "Bearer " + tokens[name]}
    return chromadb.HttpClient(host="localhost", port=port, ssl=True, headers=headers)

def refused(work, text):
    try:
        work()
    except Exception as error:
        assert text in str(error), error
    else:
        raise AssertionError("was not refused: " + text)

writer = client("writer")
assert writer.heartbeat() > 0
assert writer.get_user_identity().user_id == "ada"
collection = writer.create_collection("papers", embedding_function=None)
collection.add(ids=["a", "b"], embeddings=[[1.0, 0.0], [0.0, 1.0]], documents=["first", "second"])
reader = client("reader").get_collection("papers", embedding_function=None)
assert reader.count() == 2
assert reader.query(query_embeddings=[[0.9, 0.1]], n_results=1)["ids"] == [["a"]]
assert reader.get(ids=["b"])["documents"] == ["second"]
refused(lambda: reader.add(ids=["c"], embeddings=[[1.0, 1.0]]), "chromadb:write")
refused(lambda: client("stranger"), "tenant")
collection.upsert(ids=["a"], embeddings=[[1.0, 0.0]], documents=["again"])
collection.update(ids=["a"], embeddings=[[1.0, 0.1]], documents=["updated"])
collection.modify(name="papers2")
assert [one.name for one in writer.list_collections()] == ["papers2"]
assert writer.count_collections() == 1
collection.delete(ids=["b"])
assert collection.count() == 1
writer.delete_collection("papers2")
print("all done")
"""


def test_the_official_chromadb_client_works_unchanged(tls_edge: Any, chroma: int, endpoint: Any, tls: Tls) -> None:
    """It is given the address, the authority and a token, and nothing of ours."""
    tls_edge.push({"chromadb": [endpoint(chroma)]})
    signer = tls_edge.signer
    tokens = {
        "writer": signer.token(roles=["writer"]),
        "reader": signer.token(roles=["reader"]),
        "stranger": signer.token(tenant="other"),
    }
    done = run(
        (sys.executable, "-c", _PROGRAM, str(tls_edge.config.https_port), json.dumps(tokens)),
        timeout_s=120,
        environment={**os.environ, "SSL_CERT_FILE": str(tls.certificate_file), "ANONYMIZED_TELEMETRY": "False"},
    )
    assert done.stdout.strip() == "all done", done.stderr
