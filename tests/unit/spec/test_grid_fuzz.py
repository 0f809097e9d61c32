"""Whatever the text: a grid or a SpecError, never another exception."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from ragrid.errors import SpecError
from ragrid.spec.load import load_grid_text

GOOD = """\
grid: lab
hosts:
  sark: {lan: 10.0.0.1, gpus: 1}
gateway: {on: [sark], https: 8443}
services:
  chromadb: {port: 8001}
  rag: {embedder: {kind: onnx}}
  vllm: {model: m, environment: {A: env:B}}
monitoring: {notify: [{webhook: env:W}]}
backup: {daily: "02:30", repositories: [/backup, {path: /offsite}]}
"""
PIECES = [
    *"{}[]:%@\t\n\"'#~\\é\x85\ufeff\0\U0010ffff",
    *("- ", "? ", "&a ", "*a", "!", "|\n", ">", "---\n", "<<: "),
    *("null", "true", "on", "0x", "-1", ".inf", "1e999"),
]

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def loads_or_is_refused(text: str) -> None:
    with contextlib.suppress(SpecError):
        load_grid_text(text, "grid.yaml")


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    loads_or_is_refused(text)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_yaml_punctuation(text: str) -> None:
    loads_or_is_refused(text)


@given(st.integers(0, len(GOOD)), st.integers(0, 12), st.sampled_from(PIECES) | st.text(max_size=5))
def test_a_good_grid_with_a_wound(start: int, length: int, patch: str) -> None:
    loads_or_is_refused(GOOD[:start] + patch + GOOD[start + length :])


@given(st.sampled_from([line.split(":")[0].strip() for line in GOOD.splitlines()]), plain_values)
def test_any_value_at_any_key(key: str, value: object) -> None:
    loads_or_is_refused(GOOD + f"{key}: {value!r}\n")


def test_the_grid_that_is_wounded_was_good() -> None:
    load_grid_text(GOOD, "grid.yaml")
