"""`python -m ragrid.services.memory --settings FILE`."""

import sys

from ragrid.services.memory.service import build
from ragrid.spec.settings import MemorySettings
from ragrid.web.server import run_service

sys.exit(run_service("memory", MemorySettings, build))
