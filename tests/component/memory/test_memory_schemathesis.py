"""Requests made of the API's own description: no fault of ours, and no answer that the description does not announce.

`RAGRID_API_EXAMPLES=1000 pytest tests/component/memory/test_memory_schemathesis.py` is the whole proof.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from support.memory_process import MemoryProcess

#: Requests for each operation and each way of asking.
EXAMPLES = int(os.environ.get("RAGRID_API_EXAMPLES", "2"))
#: What is asked of every operation; from a hundred examples on, also each boundary of each parameter by itself.
PHASES = "fuzzing" if EXAMPLES < 100 else "coverage,fuzzing"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
#: They last as long as the caller does; their own tests look at them.
ENDLESS = ("streamChanges", "streamChangesHead")

#: Any ids; and the ids of what there is, so that more than refusals is seen.
WAYS = {
    "anything": '[parameters]\n"query.wait_seconds" = 0\n',
    "what there is": '[parameters]\n"query.wait_seconds" = 0\n"path.id" = "tea"\n"header.Memory-Namespace" = "demo"\n',
}
PROGRAM = Path(sys.executable).parent / "schemathesis"
HOOKS = Path(__file__).parents[2] / "support" / "schemathesis_hooks.py"


@pytest.mark.timeout(120 + 60 * EXAMPLES)
@pytest.mark.parametrize("way", WAYS if EXAMPLES >= 100 else ("what there is",))
def test_every_answer_is_announced(service: MemoryProcess, way: str, tmp_path: Path) -> None:
    token = service.mint.token(scope="memory:read memory:write memory:admin", exp=int(time.time()) + 86_400)
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {token}"}) as client:
        namespace = {"memory-namespace": "demo"}
        client.put("/memory/v1/memories/tea", json={"content": "green tea"}, headers=namespace).raise_for_status()
        client.put("/memory/v1/sessions/tea/state", json={"data": {}}, headers=namespace).raise_for_status()
    config = tmp_path / "schemathesis.toml"
    config.write_text(f'hooks = "{HOOKS}"\n{WAYS[way]}')
    command = (
        *(str(PROGRAM), "--config-file", str(config), "run", f"{service.url}/memory/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {token}", "--max-examples", str(EXAMPLES), "--phases", PHASES),
        *("--checks", ",".join(CHECKS), "--seed", "1", "--no-color", "--request-timeout", "60", "--warnings", "off"),
        *(part for one in ENDLESS for part in ("--exclude-operation-id", one)),
        *("--workers", "2", "--continue-on-failure", "--generation-database", "none", "--suppress-health-check", "all"),
    )
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout)  # the counts, with -rP
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    metrics = httpx.get(f"{service.url}/metrics").text
    assert 'status="5' not in metrics, [line for line in metrics.splitlines() if 'status="5' in line]
