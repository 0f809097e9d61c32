"""A manual that nobody here wrote, with questions whose answers are known: Debian's policy, as HTML."""

from pathlib import Path

from ragrid.system.process import run
from ragrid.verify.retrieval import QuestionSet, load_questions

_ROOT = Path(__file__).parents[2]


def policy_pages() -> list[Path]:
    """Return the pages; fetched as a package and unpacked, never installed, and kept for next time."""
    cache = _ROOT / ".cache" / "corpora" / "debian-policy"
    pages = cache / "usr/share/doc/debian-policy/policy.html"
    if not pages.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        run(("apt-get", "download", "debian-policy"), timeout_s=120, directory=cache)
        (package,) = cache.glob("debian-policy_*.deb")
        run(("dpkg-deb", "-x", str(package), str(cache)), timeout_s=60)
        package.unlink()
    return sorted(pages.glob("*.html"))


def policy_questions() -> QuestionSet:
    """Return the questions, each with the pages that answer it."""
    return load_questions(_ROOT / "tests" / "data" / "debian_policy_questions.json")
