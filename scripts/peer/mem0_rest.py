"""mem0's REST server, as its own folder `server` describes it, on a PostgreSQL with pgvector that is started for it."""

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from ragrid.inference.hashing import HashingEmbedder
from support.postgresql import Cluster
from support.registry_servers import free_ports

#: The commit of https://github.com/mem0ai/mem0 whose folder `server` was measured; it asks for any newer mem0ai.
COMMIT = "8d5b7865bd0521e75fe9ab1b260eeccc83f8a378"
#: What its requirements leave to the machine: libpq.
MORE = ("psycopg[binary]",)
USER = "bench"
START_S = 120.0

Call = Callable[[str, list[str]], float]


@contextlib.contextmanager
def mem0_rest(
    source: Path, environment: Path, cluster: Cluster, port: int, *, peer: str, address: str
) -> Iterator[Call]:
    """Run the server from the folder `source`, in an environment that is made the first time; return how to call it.

    It keeps vectors and its own tables in `cluster`, which listens on `port`, checks an API key, and asks `address` for
    embeddings. `infer` is false in each call: texts are kept as they are, and no language model is asked.
    """
    python = _environment(environment, source, peer)
    key, (listen,) = secrets.token_hex(16), free_ports(1)
    cluster.sql("CREATE DATABASE mem0_app")
    folder = cluster.directory
    variables = os.environ | {
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(port),
        "POSTGRES_PASSWORD": "none",
        "ADMIN_API_KEY": key,
        "JWT_SECRET": secrets.token_hex(32),
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": address,
        "MEM0_TELEMETRY": "false",
        "MEM0_TELEMETRY_STATE_PATH": str(folder / "telemetry.json"),
        "MEM0_DIR": str(folder / "mem0"),
        "HISTORY_DB_PATH": str(folder / "history.db"),
    }
    migrate = (str(python), "-m", "alembic", "upgrade", "head")
    serve = (str(python), "-m", "uvicorn", "main:app", "--port", str(listen), "--log-level", "warning")
    with (folder / "mem0.log").open("ab") as log:
        subprocess.run(migrate, cwd=source, env=variables, check=True, stdout=log, stderr=log)
        server = subprocess.Popen(serve, cwd=source, env=variables, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listen}", headers={"X-API-Key": key}, timeout=60) as client:
            _wait(client, server, folder / "mem0.log")
            client.post("/configure", json=_configuration(address)).raise_for_status()
            ids: list[str] = []

            def call(kind: str, texts: list[str]) -> float:
                began_s = time.perf_counter()
                _perform(client, kind, texts, ids)
                return time.perf_counter() - began_s

            yield call
    finally:
        server.terminate()
        server.wait()


def _environment(environment: Path, source: Path, peer: str) -> Path:
    python = environment / "bin" / "python"
    if not python.exists():
        print(f"installing mem0's server into {environment}", file=sys.stderr)
        subprocess.run((sys.executable, "-m", "venv", str(environment)), check=True)
        install = (str(python), "-m", "pip", "install", "-qq", "-r", str(source / "requirements.txt"), peer, *MORE)
        subprocess.run(install, check=True)
    return python


def _configuration(address: str) -> dict[str, object]:
    dimension = HashingEmbedder().dimension
    embedder = {"openai_base_url": address, "api_key": "none", "embedding_dims": dimension, "model": "bench"}
    return {
        "vector_store": {"config": {"collection_name": "bench", "embedding_model_dims": dimension}},
        "embedder": {"provider": "openai", "config": embedder},
    }


def _perform(client: httpx.Client, kind: str, texts: list[str], ids: list[str]) -> None:
    """Do one kind of call for each text, one after the other; what was added is read in turn."""
    for number, one in enumerate(texts):
        if kind == "add":
            message = {"messages": [{"role": "user", "content": one}], "user_id": USER, "infer": False}
            ids.append(client.post("/memories", json=message).raise_for_status().json()["results"][0]["id"])
        elif kind == "get":
            if client.get(f"/memories/{ids[number % len(ids)]}").raise_for_status().json() is None:
                raise SystemExit("mem0's server does not know what it was given")
        else:
            asked = {"query": one, "filters": {"user_id": USER}, "top_k": 10}
            if not client.post("/search", json=asked).raise_for_status().json()["results"]:
                raise SystemExit(f"mem0's server found nothing for {one!r}")


def _wait(client: httpx.Client, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and server.poll() is None:
        try:
            client.get("/configure").raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit(f"mem0's server did not start: {log.read_text()[-2000:]}")
