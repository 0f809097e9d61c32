"""mem0 as its own documentation sets it up, told over standard input what to do. Runs in the environment of the peer.

Each line in is a JSON object `{"do": "add"|"get"|"search", "texts": [...]}`; each line out is `{"seconds": S}`. Adding
is done with `infer=False`: the texts are kept as they are, and no language model is asked.
"""

import json
import os
import sys
import tempfile
import time

os.environ["MEM0_TELEMETRY"] = "False"
os.environ["MEM0_DIR"] = tempfile.mkdtemp(prefix="mem0-")

from mem0 import Memory

USER = "bench"


def main() -> None:
    """Serve the lines of standard input; argv: a directory, and the address and dimension of an embedding server."""
    directory, address, dimension = sys.argv[1:]
    memory = open_memory(directory, address, int(dimension))
    ids: list[str] = []
    for line in sys.stdin:
        order = json.loads(line)
        began_s = time.perf_counter()
        perform(memory, order["do"], order["texts"], ids)
        print(json.dumps({"seconds": time.perf_counter() - began_s}), flush=True)


def open_memory(directory: str, address: str, dimension: int) -> Memory:
    """Open mem0 on its default local store, Qdrant on disk, with an embedder that speaks OpenAI's API."""
    store = {"path": f"{directory}/qdrant", "on_disk": True, "embedding_model_dims": dimension}
    embedder = {"openai_base_url": address, "api_key": "none", "embedding_dims": dimension, "model": "bench"}
    return Memory.from_config(
        {
            "vector_store": {"provider": "qdrant", "config": store},
            "history_db_path": f"{directory}/history.db",
            "embedder": {"provider": "openai", "config": embedder},
            "llm": {"provider": "openai", "config": {"api_key": "none"}},
        }
    )


def perform(memory: Memory, what: str, texts: list[str], ids: list[str]) -> None:
    """Do one kind of call for each text, one after the other; what was added is read in turn."""
    for number, text in enumerate(texts):
        if what == "add":
            ids.append(memory.add(text, user_id=USER, infer=False)["results"][0]["id"])
        elif what == "get":
            if memory.get(ids[number % len(ids)]) is None:
                raise SystemExit("mem0 does not know what it was given")
        elif not memory.search(text, filters={"user_id": USER}, top_k=10)["results"]:
            raise SystemExit(f"mem0 found nothing for {text!r}")


main()
