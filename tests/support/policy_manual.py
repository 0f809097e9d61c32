"""A manual that nobody here wrote, with questions whose answers are known: Debian's policy, as HTML."""

import sys
from pathlib import Path

from ragrid.system.process import run
from ragrid.verify.retrieval import QuestionSet, load_questions

_ROOT = Path(__file__).parents[2]


def policy_pages() -> list[Path]:
    """Return the pages; the package is fetched and unpacked, never installed, and kept for next time."""
    folder = _ROOT / ".cache" / "corpora" / "debian-policy"
    fetch = _ROOT / "scripts" / "fetch_package.py"
    run((sys.executable, str(fetch), "debian-policy", "--into", str(folder)), timeout_s=240)
    return sorted((folder / "usr/share/doc/debian-policy/policy.html").glob("*.html"))


def policy_questions() -> QuestionSet:
    """Return the questions, each with the pages that answer it."""
    return load_questions(_ROOT / "tests" / "data" / "debian_policy_questions.json")
