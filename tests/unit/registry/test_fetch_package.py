"""Where the script that fetches Consul takes the mirror's address from: the machine's own lists, in both formats."""

import runpy
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[3] / "scripts" / "fetch_package.py"))

STANZAS = """\
# a comment
Types: deb deb-src
URIs: http://first.example/distribution http://second.example/distribution
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://security.example/distribution-security
Suites: bookworm-security
Components: main
"""


@pytest.mark.parametrize(
    ("files", "mirror"),
    [
        ({"sources.list.d/debian.sources": STANZAS}, "http://first.example/distribution"),
        ({"sources.list": "deb http://a.example/distribution bookworm main\n"}, "http://a.example/distribution"),
        (
            {"sources.list": "deb [arch=amd64 signed-by=/x] http://a.example bookworm contrib main\n"},
            "http://a.example",
        ),
        (
            {
                "sources.list": "# deb http://no.example bookworm main\ndeb http://no.example bookworm-updates main\n",
                "sources.list.d/other.list": "deb https://cloud.example/apt cloud-sdk-bookworm main\n",
                "sources.list.d/z.sources": STANZAS,
            },
            "http://first.example/distribution",
        ),
    ],
)
def test_mirror_is_the_one_that_the_machine_uses(tmp_path: Path, files: dict[str, str], mirror: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert SCRIPT["find_mirror"](tmp_path, "bookworm") == mirror


@pytest.mark.parametrize(
    "text", ["", "deb-src http://a.example bookworm main\n", "deb http://a.example bookworm contrib\n"]
)
def test_no_mirror_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "sources.list").write_text(text)
    with pytest.raises(RuntimeError, match="no list names bookworm main"):
        SCRIPT["find_mirror"](tmp_path, "bookworm")
