"""The edge's table decides every operation that the token service serves; its routes need an open store."""

from pathlib import Path

from starlette.testclient import TestClient

from ragrid.services.tokens.application import build
from support.operations import of_routes, undecided
from support.token_desk import settings_in


def test_every_operation_of_the_token_service_is_decided(tmp_path: Path) -> None:
    application, _ = build(settings_in(tmp_path))
    with TestClient(application):  # its end closes the store
        private = {"/healthz", "/readyz", "/metrics"}
        operations = of_routes([one for one in application.routes if getattr(one, "path", "") not in private])
    assert operations
    assert undecided("tokens", operations) == []
