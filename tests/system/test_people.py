"""People sign in through the gateway: `ragrid user`, `ragrid login`, and what a disabled person can still do."""

import json
import os
import re
import subprocess

from support.browser import Browser
from support.running_grid import RAGRID, RunningGrid, eventually

PASSWORD = "correct horse battery staple"


def with_input(grid: RunningGrid, text: str, *arguments: str) -> str:
    done = subprocess.run(
        (str(RAGRID), *arguments),
        env=grid.environment,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def status_of(grid: RunningGrid, token: str, path: str = "/memory/v1/memories") -> int:
    with grid.client(token) as client:
        return client.get(path).status_code


def called(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (str(RAGRID), *arguments), env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def acts_as_the_person_who_is_signed_in(grid: RunningGrid, environment: dict[str, str]) -> None:
    """`ragrid ask`, `ingest` and `memory`, here and from a machine that has nothing but the sign-in."""
    page = grid.home / "of-eve.md"
    page.write_text("# Of Eve\n\nEve keeps seven hens behind the mill.\n")
    done = called(environment, "ingest", str(page))
    assert (done.returncode, "as eve, who is signed in" in done.stderr) == (0, True), done.stderr
    made = called(environment, "memory", "put", "Eve likes rye bread", "--json")
    assert json.loads(made.stdout)["created_by"] == "eve", made.stderr
    elsewhere = {**environment, "XDG_STATE_HOME": str(grid.home / "empty")}
    answer = called(elsewhere, "ask", "how many hens does Eve keep?", "--json")
    assert "of-eve.md" in {each["document"] for each in json.loads(answer.stdout)["citations"]}, answer.stderr
    reader = called({**elsewhere, "RAGRID_TOKEN": grid.token("reader")}, "ingest", str(page))
    assert (reader.returncode, "rag:write" in reader.stderr) == (1, True), "a given token comes first"


def test_a_person_signs_in_from_the_command_line_and_is_shut_out(grid: RunningGrid) -> None:
    with_input(grid, f"{PASSWORD}\n", "user", "add", "eve", "--role", "writer", "--json")
    assert "eve" in [one["name"] for one in grid.json("user", "list")["users"]]
    environment = {**grid.environment, "XDG_CONFIG_HOME": str(grid.home / "config")}
    login = subprocess.Popen((str(RAGRID), "login", "--json"), env=environment, stdout=-1, stderr=-1, text=True)
    try:
        assert login.stderr is not None
        shown = ""
        while "user_code=" not in shown:
            shown = login.stderr.readline()
            assert shown, "it ended without showing a code"
        code = re.search(r"user_code=([A-Z-]{9})", shown)
        assert code is not None
        with grid.client() as client:
            browser = Browser(client)
            browser.open("/oauth2/device", user_code=code[1])
            browser.send({"Origin": grid.address}, name="eve", password=PASSWORD, decision="allow")
            assert "go back to the device" in browser.text()
        output, told = login.communicate(timeout=60)
    finally:
        login.kill()
        login.wait()
    assert login.returncode == 0, told
    kept = json.loads(output)["file"]
    assert os.stat(kept).st_mode & 0o777 == 0o600  # noqa: PTH116 - a name from JSON
    done = subprocess.run(
        (str(RAGRID), "token", "issue", "--login", "--json"),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    token = json.loads(done.stdout)["access_token"]
    assert status_of(grid, token) == 200
    assert status_of(grid, token, "/tokens/v1/clients") == 403, "eve is a writer, no administrator"
    assert "'sub': 'eve'" in str(grid.json("token", "inspect", token)["claims"])
    acts_as_the_person_who_is_signed_in(grid, environment)
    assert "sign-in" in [line["event"] for line in grid.json("audit", "--subject", "eve")["events"]]
    grid.ok("user", "disable", "eve", "--json")
    eventually(lambda: status_of(grid, token) == 401, "a disabled person's token is refused")
    refused = called(environment, "ask", "who may ask?")
    assert (refused.returncode, "401" in refused.stderr) == (1, True), "not as somebody else instead"
    over = subprocess.run((str(RAGRID), "login", "--end"), env=environment, capture_output=True, text=True, check=False)
    assert over.returncode == 0, over.stderr
    again = subprocess.run(
        (str(RAGRID), "token", "issue", "--login"), env=environment, capture_output=True, text=True, check=False
    )
    assert (again.returncode, "run `ragrid login`" in again.stderr) == (1, True)
