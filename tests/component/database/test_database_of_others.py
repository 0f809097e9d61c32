import stat
from pathlib import Path

import pytest

from ragrid.errors import StateError
from ragrid.services.database.cluster import Cluster
from ragrid.spec.settings import DatabaseSettings, Listen


def test_files_that_are_not_ours_are_not_made_anew(tmp_path: Path) -> None:
    files = tmp_path / "cluster"
    files.mkdir()
    (files / "PG_VERSION").write_text("9\n")
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 15.18'\n")
    program.chmod(stat.S_IRWXU)
    settings = DatabaseSettings(
        listen=Listen(port=9187),
        host="10.0.0.1",
        port=5432,
        programs_directory=tmp_path,
        data_directory=tmp_path,
        run_directory=tmp_path / "run",
        certificate_file=tmp_path / "server.crt",
        key_file=tmp_path / "server.key",
        accounts=(),
    )
    with pytest.raises(StateError, match="made by PostgreSQL 9"):
        Cluster(settings).make()
    assert [path.name for path in files.iterdir()] == ["PG_VERSION"]
