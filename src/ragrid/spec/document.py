"""YAML text to plain values, with line and column of each, within fixed bounds.

Scalars follow YAML 1.2's core schema, so `on`, `no` and `02:30` are text; PyYAML left alone
reads them as YAML 1.1: true, false, 150.

Events are read one at a time and reading ends at the first bound that is crossed, so memory and time are bounded by the
size of the text. Anchors, aliases and tags are refused: a grid has no use for them, and they are how small files grow.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from ragrid.spec.faults import Fault, Mark, Path, mark_at

#: Deepest nesting; the models need 6.
MAX_DEPTH = 32
#: Most scalars, lists and mappings together; a grid of 30 hosts needs some 400.
MAX_NODES = 10_000

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_OCTAL = re.compile(r"0o[0-7]{1,20}")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,16}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

_TOP = Mark(1, 1)
_NO_ANCHORS = "write the value out at each place"
#: Stands for a key that is not a scalar; such a file is refused, so nobody meets it.
_NOT_A_NAME = "?"


@dataclass(frozen=True)
class Document:
    """One file: plain values, where each value and key stands, and what is wrong with the YAML itself."""

    value: Any
    values_at: Mapping[Path, Mark]
    keys_at: Mapping[Path, Mark]
    scalars: frozenset[Path]
    faults: tuple[Fault, ...]

    def mentions(self, path: Path) -> bool:
        """Return whether the file itself says something at `path`, if only in short (a repository that is a path)."""
        return path in self.values_at or path in self.keys_at or (path[-1:] == ("path",) and path[:-1] in self.scalars)

    def mark_of(self, path: Path) -> Mark:
        """Return where `path` stands, or the nearest thing around it that the file has."""
        while path and path not in self.values_at:
            path = path[:-1]
        return self.values_at.get(path, Mark(1, 1))

    def key_of(self, path: Path) -> Mark:
        """Return where the key of `path` stands, or the nearest thing around it."""
        return self.keys_at.get(path) or self.mark_of(path)


def parse_document(text: str) -> Document:
    """Return what `text` says; a fault that ends the reading is the last one, and the value is then None."""
    forbidden = _FORBIDDEN.search(text)
    if forbidden is not None:
        return _refused(Fault((), mark_at(text, forbidden.start()), *_forbidden_character(forbidden[0])))
    composer = _Composer()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            composer.take(event)
    except _Stop as stop:
        composer.faults.append(stop.fault)
        return _refused(*composer.faults)
    except yaml.MarkedYAMLError as error:
        return _refused(*composer.faults, _syntax(error, text))
    except (yaml.YAMLError, ValueError, OverflowError):  # escapes and directives with impossible numbers
        return _refused(*composer.faults, _unreadable(composer.last))
    return composer.document()


def _refused(*faults: Fault) -> Document:
    return Document(None, {}, {}, frozenset(), faults)


class _Stop(Exception):  # noqa: N818 -- control flow, not an error that leaves this module
    """Reading ends here: going on would cost more than the file is worth."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass
class _Frame:
    """A list or mapping that is being read; `key` is the pending key of a mapping."""

    value: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None

    def next_path(self) -> Path:
        if isinstance(self.value, list):
            return (*self.path, len(self.value))
        return self.path if self.key is None else (*self.path, self.key)


@dataclass
class _Composer:
    """Builds plain values from events, without recursion."""

    faults: list[Fault] = field(default_factory=list)
    last: Mark = _TOP
    values_at: dict[Path, Mark] = field(default_factory=dict)
    keys_at: dict[Path, Mark] = field(default_factory=dict)
    _frames: list[_Frame] = field(default_factory=list)
    _scalars: set[Path] = field(default_factory=set)
    _root: Any = None
    _nodes: int = 0
    _documents: int = 0

    def document(self) -> Document:
        return Document(self._root, self.values_at, self.keys_at, frozenset(self._scalars), tuple(self.faults))

    def take(self, event: yaml.Event) -> None:
        if event.start_mark is not None:
            self.last = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
        match event:
            case yaml.DocumentStartEvent():
                self._start_document()
            case yaml.AliasEvent():
                self._fault("an alias (`*`)", "a value", _NO_ANCHORS)
                self._scalar(None, is_plain=True)
            case yaml.ScalarEvent():
                self._refuse_properties(event, event.tag is None or event.tag == "!")
                self._scalar(event.value, is_plain=event.style is None)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._refuse_properties(event, event.tag is None)
                self._open({} if isinstance(event, yaml.MappingStartEvent) else [])
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._frames.pop()
            case _:
                pass

    def _start_document(self) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _Stop(Fault((), self.last, "a second document", "one document", "delete the line `---` before it"))

    def _refuse_properties(self, event: yaml.NodeEvent, is_untagged: bool) -> None:
        if event.anchor is not None:
            self._fault("an anchor (`&`)", "a plain value", _NO_ANCHORS)
        if not is_untagged:
            self._fault("a tag (`!`)", "a plain value", "delete the tag")

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            advice = "split the grid, or generate less"
            raise _Stop(Fault((), self.last, "more values", f"at most {MAX_NODES} in one file", advice))

    def _open(self, value: dict[str, Any] | list[Any]) -> None:
        self._count()
        if len(self._frames) >= MAX_DEPTH:
            path = self._frames[-1].path[:4]
            raise _Stop(Fault(path, self.last, "deeper nesting", f"at most {MAX_DEPTH} levels", "nest less deeply"))
        if self._wants_key():
            self._frames[-1].key = _NOT_A_NAME
            self._fault("a list or mapping as a key", "a name", "write the key as one word")
            self._frames.append(_Frame(value, self._frames[-1].next_path()))
        else:
            self._frames.append(_Frame(value, self._place(value)))

    def _scalar(self, text: str | None, *, is_plain: bool) -> None:
        self._count()
        if text is not None and _SURROGATE.search(text):
            self._fault("half a character (a lone surrogate)", "whole characters", "write the character itself")
            text = None
        if self._wants_key():
            self._key(_NOT_A_NAME if text is None else text)
        else:
            value = resolve(text) if is_plain and text is not None else text
            path = self._place(value)
            if value is not None:
                self._scalars.add(path)

    def _wants_key(self) -> bool:
        return bool(self._frames) and isinstance(self._frames[-1].value, dict) and self._frames[-1].key is None

    def _key(self, key: str) -> None:
        frame = self._frames[-1]
        path = (*frame.path, key)
        first = self.keys_at.setdefault(path, self.last)
        if key in frame.value:
            wanted = f"it once (line {first.line} has it too)"
            self.faults.append(Fault(path, self.last, "this key twice", wanted, "delete one of the two"))
        frame.key = key

    def _place(self, value: Any) -> Path:
        if not self._frames:
            self._root = value
            self.values_at[()] = self.last
            return ()
        frame = self._frames[-1]
        path = frame.next_path()
        if isinstance(frame.value, list):
            frame.value.append(value)
        else:
            frame.value.setdefault(frame.key or _NOT_A_NAME, value)
            frame.key = None
        self.values_at.setdefault(path, self.last)
        return path

    def _fault(self, got: str, wanted: str, advice: str) -> None:
        path = self._frames[-1].next_path() if self._frames else ()
        self.faults.append(Fault(path, self.last, got, wanted, advice))


def resolve(text: str) -> bool | int | float | str | None:
    """Return the value that a plain scalar stands for in YAML 1.2's core schema.

    Integers of more than 18 digits stay text: no key of a grid wants one."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    if text.lstrip("+-").isdigit():
        return text
    if _FLOAT.fullmatch(text) or _INFINITE.fullmatch(text):
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _forbidden_character(character: str) -> tuple[str, str, str]:
    if character == "\ufeff":
        return "a byte order mark", "plain UTF-8", "save the file as UTF-8 without BOM"
    if character == "\0":
        return "a NUL byte", "text", "delete it; perhaps the file was saved as UTF-16"
    return f"the control character U+{ord(character):04X}", "text", "delete it"


def _syntax(error: yaml.MarkedYAMLError, text: str) -> Fault:
    mark, context = error.problem_mark or error.context_mark, error.context or ""
    if "quoted" in context and error.context_mark is not None:
        mark = error.context_mark
    if mark is None:
        return _unreadable(_TOP)
    here = Mark(mark.line + 1, mark.column + 1)
    lines = text.split("\n")
    indentation = lines[mark.line][: mark.column + 1] if mark.line < len(lines) else ""
    if "\t" in indentation and not indentation.strip():
        return Fault((), here, "a tab", "spaces", "indent with two spaces a level")
    problem = (error.problem or "something unexpected").replace("\n", " ")
    return Fault((), here, f"what YAML cannot hold ({problem})", "well-formed YAML", _syntax_advice(problem, error))


def _syntax_advice(problem: str, error: yaml.MarkedYAMLError) -> str:
    context, opened = error.context or "", error.context_mark
    if "found ':'" in problem or "mapping values" in problem:
        return "put text that contains `: ` in quotes"
    if "cannot start any token" in problem:
        return "put text that starts with a special character in quotes"
    if "quoted" in context:
        return "close the quote"
    if "flow" in context and opened is not None:
        return f"close the bracket of line {opened.line + 1}, column {opened.column + 1}, or put text in quotes"
    return "check indentation, brackets and quotes here and in the line above"


def _unreadable(mark: Mark) -> Fault:
    return Fault((), mark, "an escape or directive that YAML cannot hold", "well-formed YAML", "write it as plain text")
