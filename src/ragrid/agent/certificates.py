"""Tells when the certificates of this host end: a grid that nobody touches for a year would end with them."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from ragrid.agent.metrics import AgentMetrics
from ragrid.system.certificates import ends_s

logger = logging.getLogger(__name__)

#: How often the files are read, seconds.
LOOK_EVERY_S = 60.0


async def watch_certificates(files: Sequence[Path], metrics: AgentMetrics) -> None:
    """Keep the figures of `files` current until cancelled."""
    while True:
        for name, at_s in await asyncio.to_thread(lambda: list(ends_of(files))):
            metrics.certificate_ends(name, at_s)
        await asyncio.sleep(LOOK_EVERY_S)


def ends_of(files: Sequence[Path]) -> Iterator[tuple[str, float]]:
    """Yield the name and the end, seconds since 1970, of each that can be read; others are logged."""
    for file in files:
        try:
            yield file.stem, ends_s(file.read_bytes())
        except (OSError, ValueError) as error:
            logger.warning("certificate cannot be read", extra={"file": str(file), "reason": str(error)})
