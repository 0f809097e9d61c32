"""`python -m ragrid.services.database --settings FILE`."""

import sys

from ragrid.services.database.application import NAME, build
from ragrid.spec.settings import DatabaseSettings
from ragrid.web.server import run_service

sys.exit(run_service(NAME, DatabaseSettings, build))
