"""The table decides every operation that the real ChromaDB and the real vLLM say they have."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from support.operations import of_openapi, undecided
from support.vllm_server import run_vllm


def _operations(base: str) -> list[Any]:
    return of_openapi(httpx.get(f"{base}/openapi.json", timeout=30).raise_for_status().json())


def test_every_operation_of_chromadb_is_decided(chroma: int) -> None:
    operations = _operations(f"http://127.0.0.1:{chroma}")
    assert len(operations) > 30
    assert undecided("chromadb", operations) == []


@pytest.mark.vllm
@pytest.mark.timeout(360)
def test_every_operation_of_vllm_is_decided(ports: Any, tmp_path: Path) -> None:
    with run_vllm(port=ports(1)[0], log=tmp_path / "vllm.log") as base:
        operations = _operations(base)
    assert len(operations) > 15
    assert undecided("vllm", operations) == []
