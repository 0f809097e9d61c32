"""Brings a grid up on one machine: prepare, plan, apply, wait until every part works."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragrid.apply.gates import Listener, await_ready
from ragrid.apply.run import Journal, apply
from ragrid.drivers.local.assemble import parts_of
from ragrid.drivers.local.driver import LocalDriver
from ragrid.drivers.local.part import Part
from ragrid.drivers.local.prepare import prepare
from ragrid.drivers.local.site import Site
from ragrid.errors import ConflictError
from ragrid.plan.steps import Step, diff
from ragrid.system import owned
from ragrid.system.clock import Clock
from ragrid.system.files import held_lock
from ragrid.system.ports import listening_sockets, overlaps, taken_text


@dataclass(frozen=True, slots=True)
class Outcome:
    """What bringing up did: the parts that run, and the steps that were needed."""

    parts: tuple[Part, ...]
    steps: tuple[Step, ...]


def local_driver(site: Site) -> LocalDriver:
    """Return the driver of `site` with all its parts."""
    bare = LocalDriver(site.layout, (), python=site.programs.python)
    return LocalDriver(
        site.layout,
        parts_of(site, supervisor_command=bare.supervisor_command()),
        python=site.programs.python,
    )


def bring_up(site: Site, clock: Clock, listener: Listener) -> Outcome:
    """Make what runs equal to the grid, and return when every part is ready; a second call changes nothing.

    Raises ConflictError when another `up` works here or a port is taken, and UnreachableError naming the part that did
    not become ready, with the end of its log.
    """
    prepare(site, clock, say=listener.waiting)
    with held_lock(site.layout.run / "up.lock", what="bringing the grid up"):
        driver = local_driver(site)
        listener.expect(len(driver.parts))
        _refuse_taken_ports(site, driver.parts)
        listener.waiting("the supervisor")
        driver.start_supervisor()
        steps = diff(driver.wanted(), driver.observe())
        journal = Journal(site.layout.journal, clock)
        apply(steps, driver, journal, watch=lambda _, step: listener.waiting(f"{step.action} {step.part}"))
        await_ready(site, driver, listener)
    return Outcome(driver.parts, steps)


def _refuse_taken_ports(site: Site, parts: Sequence[Part]) -> None:
    ours = owned.parts_running(site.layout.root)
    strangers = [one for one in listening_sockets() if one.pid not in ours]
    taken = [
        taken_text(port.key, port.host, port.port, holder)
        for part in parts
        for port in part.ports
        for holder in strangers
        if holder.port == port.port and overlaps(holder.host, port.host)
    ]
    if taken:
        raise ConflictError("\n".join(taken))
