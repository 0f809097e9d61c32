"""What the keys of a grid must be to one another; each rule is a pure function from a grid to what is wrong with it."""

from collections.abc import Callable, Iterator

from ragrid.spec.conflicts.conflict import Conflict
from ragrid.spec.conflicts.models import (
    generator_is_served,
    memory_embeds_with_what_is_there,
    rag_has_what_it_needs,
)
from ragrid.spec.conflicts.placement import (
    addresses_are_in_their_networks,
    hosts_are_known,
    ports_are_distinct,
    something_is_served,
    weights_are_of_its_hosts,
)
from ragrid.spec.conflicts.stores import (
    database_runs_once,
    memory_can_be_shared,
    repositories_are_distinct,
    tokens_can_be_shared,
)
from ragrid.spec.conflicts.trust import (
    certificate_has_its_files,
    service_tokens_live_a_day,
    tokens_end_before_their_key,
)
from ragrid.spec.conflicts.vllm import (
    vllm_arguments_are_its_own,
    vllm_fits_its_hosts,
    vllm_has_one_source,
)
from ragrid.spec.models import Grid

RULES: tuple[Callable[[Grid], Iterator[Conflict]], ...] = (
    something_is_served,
    hosts_are_known,
    ports_are_distinct,
    addresses_are_in_their_networks,
    tokens_end_before_their_key,
    service_tokens_live_a_day,
    tokens_can_be_shared,
    database_runs_once,
    memory_can_be_shared,
    memory_embeds_with_what_is_there,
    weights_are_of_its_hosts,
    rag_has_what_it_needs,
    generator_is_served,
    vllm_has_one_source,
    vllm_fits_its_hosts,
    vllm_arguments_are_its_own,
    certificate_has_its_files,
    repositories_are_distinct,
)


def conflicts(grid: Grid) -> Iterator[Conflict]:
    """Yield everything that is wrong between the keys of `grid`."""
    for rule in RULES:
        yield from rule(grid)
