"""Every file that a grid is made of on one host, as `ragrid render` writes it (pure)."""

from ragrid.drivers.local.driver import LocalDriver
from ragrid.drivers.local.supervisor import render_program, render_supervisor


def rendered_files(driver: LocalDriver) -> dict[str, bytes]:
    """Return name below the state directory -> content, sorted by name; the same bytes for the same grid.

    With secrets beside them, `supervisord -c etc/supervisord.conf` runs the grid without ragrid's own command.
    """
    files = {"etc/supervisord.conf": render_supervisor(driver.layout)}
    for part in driver.parts:
        files |= part.files
        files[f"etc/programs/{part.name}.conf"] = render_program(driver.layout, part, driver.python)
    return dict(sorted(files.items()))
