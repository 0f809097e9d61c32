"""Each value says where it came from; secrets are shown as references."""

import pytest

from ragrid.spec.load import load_grid_text
from ragrid.spec.show import effective_values

TEXT = """\
grid: lab
hosts:
  one: {lan: 10.0.0.1}
services:
  memory: {port: 3001}
monitoring:
  notify: [{webhook: env:ALERT_WEBHOOK}]
backup:
  repositories:
    - /backup
    - {path: /offsite, offsite: true}
"""


@pytest.fixture
def shown() -> dict[str, tuple[object, str]]:
    return {key: (value, origin) for key, value, origin in effective_values(load_grid_text(TEXT, "grid.yaml"))}


@pytest.mark.parametrize(
    ("key", "value", "origin"),
    [
        ("grid", "lab", "grid.yaml:1:7"),
        ("hosts.one.lan", "10.0.0.1", "grid.yaml:3:14"),
        ("hosts.one.gpus", 0, "default"),
        ("services.memory.port", 3001, "grid.yaml:5:18"),
        ("services.memory.on", ["one"], "default"),
        ("services.vllm", None, "default"),
        ("auth.access_token", "10m", "default"),
        ("auth.roles", {}, "default"),
        ("gateway.name", "10.0.0.1", "default"),
        ("monitoring.notify[0].webhook", "env:ALERT_WEBHOOK", "grid.yaml:7:22"),
        ("backup.repositories[0].path", "/backup", "grid.yaml:10:7"),
        ("backup.repositories[0].offsite", False, "default"),
        ("backup.repositories[1].offsite", True, "grid.yaml:11:33"),
    ],
)
def test_a_value_says_where_it_came_from(
    shown: dict[str, tuple[object, str]], key: str, value: object, origin: str
) -> None:
    assert shown[key] == (value, origin)


def test_a_name_that_looks_like_a_path_is_no_trap() -> None:
    text = TEXT.replace("  one: {lan", '  "path": {lan')
    assert load_grid_text(text, "grid.yaml").origins["hosts.path.lan"] == "grid.yaml:3:17"
