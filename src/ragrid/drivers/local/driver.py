"""The local driver: steps become supervised processes under one state directory."""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ragrid.drivers.local.layout import Layout
from ragrid.drivers.local.part import Part
from ragrid.drivers.local.reload import check_files, digest_of, reload_part
from ragrid.drivers.local.supervisor import SupervisorControl, render_program, render_supervisor
from ragrid.errors import UnreachableError
from ragrid.plan.steps import Action, Step, Wanted
from ragrid.system import owned
from ragrid.system.files import PRIVATE, write_atomic, write_if_changed
from ragrid.system.process import run

SUPERVISOR = "supervisor"
_SUPERVISOR_START_S = 10.0
#: The supervisor calls a part running one second (`startsecs`) after its start.
_STARTING_S = 3.0
#: Parts get this long to end by themselves at `down`; a gateway may be draining streams.
STOP_GRACE_S = 30.0
#: What is left after that has lost its parent and gets this long.
ORPHAN_GRACE_S = 3.0


class LocalDriver:
    """Runs `parts` below `layout`. `python` is the interpreter that ragrid is installed for."""

    def __init__(self, layout: Layout, parts: Sequence[Part], *, python: Path) -> None:
        self.layout = layout
        self.control = SupervisorControl(layout.supervisor_socket)
        self.parts = tuple(parts)
        self._parts = {part.name: part for part in parts}
        self.python = python

    def observe(self) -> Mapping[str, str]:
        """Return the revision of every part that the supervisor keeps running, by name."""
        if not self.control.is_alive():
            return {}
        return {state.name: self._revision_of(state.name) for state in self.control.processes()}

    def wanted(self) -> tuple[Wanted, ...]:
        """Return every part with the revision that it should run at, in the order of dependence."""
        return tuple(Wanted(part.name, part.revision + digest_of(part)) for part in self.parts)

    def run(self, step: Step) -> None:
        """Carry out one step: the part's files are replaced only now, and it is started on them, or told to read them.

        Raises RagridError, and changes nothing, when a part that can check its files refuses them.
        """
        if step.action is not Action.STOP:
            check_files(self.layout, self._parts[step.part])
        if step.action is Action.RELOAD and self._is_running(step.part):
            reload_part(self.layout, self._parts[step.part], self.control)
            write_atomic(self._revision_file(step.part), step.revision.encode(), mode=PRIVATE)
            return
        if step.action is not Action.START:
            self.control.unload(step.part)
            owned.end(lambda: self._processes_of(step.part), grace_s=ORPHAN_GRACE_S)
        if step.action is Action.STOP:
            self._program_file(step.part).unlink(missing_ok=True)
            self._revision_file(step.part).unlink(missing_ok=True)
            return
        part = self._parts[step.part]
        for name, content in sorted(part.files.items()):
            write_if_changed(self.layout.root / name, content, mode=PRIVATE)
        write_if_changed(self._program_file(part.name), render_program(self.layout, part, self.python), mode=PRIVATE)
        self.control.load(part.name)
        write_atomic(self._revision_file(part.name), step.revision.encode(), mode=PRIVATE)

    def start_supervisor(self) -> bool:
        """Make sure that one supervisor runs, ending what a dead one left of itself; tell whether it was started.

        Raises UnreachableError when it does not come up.
        """
        configuration = self.layout.etc / "supervisord.conf"
        write_if_changed(configuration, render_supervisor(self.layout), mode=PRIVATE)
        if self.control.is_alive():
            return False
        owned.end(lambda: self._processes_of(SUPERVISOR), grace_s=ORPHAN_GRACE_S)
        for program in self._program_directory().glob("*.conf"):  # what stopped existing must not come back
            if program.stem not in self._parts:
                program.unlink()
        self._spawn(configuration)
        return True

    def stop(self) -> tuple[str, ...]:
        """End every process of the grid, supervised or orphaned; return the names of the parts that ran."""
        running = owned.parts_running(self.layout.root)
        if self.control.is_alive():
            with contextlib.suppress(UnreachableError):  # it may end by itself in this very moment
                self.control.shut_down()
            self._await_supervisor_end(STOP_GRACE_S)
        owned.end(lambda: owned.parts_running(self.layout.root), grace_s=ORPHAN_GRACE_S)
        self.layout.supervisor_socket.unlink(missing_ok=True)
        return tuple(sorted(set(running.values()) - {SUPERVISOR}))

    def supervisor_command(self) -> tuple[str, ...]:
        """Return the command that starts the supervisor in the background."""
        return (str(self.python), "-m", "supervisor.supervisord", "-c", str(self.layout.etc / "supervisord.conf"))

    def _spawn(self, configuration: Path) -> None:
        environment = {**os.environ, owned.MARK: owned.mark_of(self.layout.root, SUPERVISOR)}
        run(self.supervisor_command(), timeout_s=_SUPERVISOR_START_S, environment=environment)
        deadline = time.monotonic() + _SUPERVISOR_START_S
        while time.monotonic() < deadline:
            if self.control.is_alive():
                return
            time.sleep(0.02)
        raise UnreachableError(
            f"{configuration}: not listening after {_SUPERVISOR_START_S:g} s; see `ragrid logs supervisor`"
        )

    def _await_supervisor_end(self, limit_s: float) -> None:
        """Wait until the supervisor is gone, which it is once it has stopped its parts."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline and self._processes_of(SUPERVISOR):
            time.sleep(0.1)

    def _is_running(self, part: str) -> bool:
        """Tell whether the part has got past its start, waiting for one that is just starting."""
        deadline = time.monotonic() + _STARTING_S
        while (state := self._state_of(part)) == "STARTING" and time.monotonic() < deadline:
            time.sleep(0.05)
        return state == "RUNNING"

    def _state_of(self, part: str) -> str:
        return next((one.state for one in self.control.processes() if one.name == part), "")

    def _processes_of(self, part: str) -> list[int]:
        return [pid for pid, name in owned.parts_running(self.layout.root).items() if name == part]

    def _program_directory(self) -> Path:
        return self.layout.etc / "programs"

    def _program_file(self, name: str) -> Path:
        return self._program_directory() / f"{name}.conf"

    def _revision_file(self, name: str) -> Path:
        return self.layout.run / "revisions" / name

    def _revision_of(self, name: str) -> str:
        try:
            return self._revision_file(name).read_text()
        except FileNotFoundError:  # cut between start and record: unknown, so the next plan restarts it
            return ""
