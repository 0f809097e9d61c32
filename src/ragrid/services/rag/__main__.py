"""`python -m ragrid.services.rag --settings FILE`: serves until SIGTERM."""

import sys

from ragrid.services.rag.app import NAME, build
from ragrid.spec.settings import RagSettings
from ragrid.web.server import run_service


def main() -> int:
    """Serve and return the exit code."""
    return run_service(NAME, RagSettings, lambda settings: (build(settings), settings.listen))


if __name__ == "__main__":
    sys.exit(main())
