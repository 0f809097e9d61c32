"""`python -m ragrid.services.tokens --settings FILE`."""

import sys

from ragrid.services.tokens.application import NAME, build
from ragrid.spec.settings import TokensSettings
from ragrid.web.server import run_service

sys.exit(run_service(NAME, TokensSettings, build))
