"""pydantic's findings in our own words: where, what came, what was wanted, what to do next."""

import difflib
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ragrid.spec.document import Document
from ragrid.spec.faults import MAX_FAULTS, Fault, Path, shown
from ragrid.spec.models import Grid
from ragrid.spec.outline import Shape, alternatives, keys_of, shape_at

_HIDDEN = "a value (not shown)"
#: How alike two keys must be for one to be offered in place of the other, 0 to 1.
_ALIKE_RATIO = 0.6


def faults_of(error: ValidationError, document: Document) -> list[Fault]:
    """Return every finding of pydantic as a fault."""
    details = error.errors(include_url=False)
    # A list whose items are all wrong is called empty too: that is no fault of its own.
    details = [each for each in details if each["type"] != "too_short" or not each["input"]]
    return [_fault_of(each, document, offers=index < MAX_FAULTS) for index, each in enumerate(details)]


def _fault_of(detail: ErrorDetails, document: Document, *, offers: bool) -> Fault:
    path: Path = tuple(part for part in detail["loc"] if part != "[key]")
    if detail["type"] == "extra_forbidden":
        return _unknown_key(path, document, offers=offers)
    if detail["type"] == "missing":
        return _missing(path, document)
    shape = shape_at(Grid, path)
    is_key = detail["loc"][-1:] == ("[key]",)
    mark = document.key_of(path) if is_key else document.mark_of(path)
    context = detail.get("ctx", {})
    if detail["type"] == "kind":
        got = _got(detail["input"], secret=bool(context["secret"]))
        return Fault(path, mark, f"the key {got}" if is_key else got, context["wanted"], context["advice"])
    return Fault(path, mark, _got_of_shape(detail["input"], shape), _wanted(detail, shape), _advice(detail, shape))


def _got(value: object, *, secret: bool) -> str:
    return _HIDDEN if secret else shown(value)


def _got_of_shape(value: object, shape: Shape | None) -> str:
    """Show a value where a list or mapping was wanted by its type alone: it may be a secret in the wrong place."""
    is_plain = shape is not None and (shape.choices or shape.is_switch)
    if is_plain or value is None or isinstance(value, dict | list | tuple | bool):
        return shown(value) if value not in ([], (), {}) else "nothing in it"
    return "text" if isinstance(value, str) else "a number"


def _wanted(detail: ErrorDetails, shape: Shape | None) -> str:
    if detail["type"] == "too_short":
        return "at least one"
    return shape.wanted if shape is not None else detail["msg"]


def _advice(detail: ErrorDetails, shape: Shape | None) -> str:
    if detail["type"] == "too_short":
        return "name one or more"
    if shape is None:
        return "see the reference of grid.yaml"
    if shape.choices:
        near = _nearest(str(detail["input"]), shape.choices)
        return f"did you mean `{near}`?" if near else f"write one of these, for example `{shape.choices[0]}`"
    if shape.is_switch:
        return "write `true` or `false`"
    return "write `[one, two]`, or one `- item` a line" if shape.list_of is not None else "write `{key: value}`"


def _unknown_key(path: Path, document: Document, *, offers: bool) -> Fault:
    parent = shape_at(Grid, path[:-1])
    known = tuple(key for key, _, _ in keys_of(parent.section)) if parent is not None and parent.section else ()
    near = _nearest(str(path[-1]), known) if offers else None  # slow, and beyond the bound nobody is told
    advice = f"did you mean `{near}`?" if near else "delete it"
    meant = ((*path[:-1], near),) if near else ()
    return Fault(path, document.key_of(path), "an unknown key", f"one of {alternatives(known)}", advice, meant)


def _missing(path: Path, document: Document) -> Fault:
    shape = shape_at(Grid, path)
    wanted = shape.wanted if shape is not None else "a value"
    example = _example(path[-1], shape)
    return Fault(path, document.key_of(path[:-1]), "nothing", wanted, f"add `{example}`")


def _example(key: Any, shape: Shape | None) -> str:
    examples = shape.kind.schema.get("examples") if shape is not None and shape.kind is not None else None
    if examples:
        return f"{key}: {examples[0]}"
    return f"{key}: [{{…}}]" if shape is not None and shape.list_of is not None else f"{key}: {{…}}"


def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    close = difflib.get_close_matches(word[:80].lower(), known, n=1, cutoff=_ALIKE_RATIO)
    return close[0] if close else None
