"""HTML to plain text: what a reader would see of the page's own content. Pure."""

import re
from dataclasses import dataclass, field
from typing import Any

from lxml import etree  # type: ignore[import-untyped]  # it ships no types

from ragrid.services.rag.document import Builder, Parsed, collapse
from ragrid.web.problem import Problem

_SKIPPED = frozenset(
    {
        *("audio", "button", "canvas", "datalist", "dialog", "head", "iframe", "math", "nav"),
        *("noscript", "object", "script", "select", "style", "svg", "template", "video"),
    }
)
_SKIPPED_ROLES = frozenset({"navigation", "search", "banner", "contentinfo"})
#: Marks that documentation tools put beside headings; they are links, not words.
_SKIPPED_CLASSES = frozenset({"headerlink", "anchor-link", "anchorjs-link"})
_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details"),
        *("div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "header"),
        *("hr", "html", "legend", "li", "main", "menu", "ol", "p", "pre"),
        *("section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul"),
    }
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_TIGHT = frozenset({"li", "tr", "dd"})
_CELLS = frozenset({"td", "th"})
_LINE_BREAK = "\u2028"
_AROUND_BREAK = re.compile(rf" ?{_LINE_BREAK} ?")


def parse_html(text: str) -> Parsed:
    """Return the visible text of a page; navigation, scripts and styles are left out, headings are kept.

    When the page marks its main content, only that is read. Broken markup is read as browsers do. Raises a 422 Problem
    for elements nested deeper than libxml2 reads (2,048), since it would drop the rest silently.
    """
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    root = etree.fromstring(text.encode(), parser)
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise Problem(422, "document-too-deep", "got elements nested over 2,048 deep, wanted a page; flatten it")
    if root is None:
        return Parsed("")
    title = "".join(root.findtext(".//title") or "")
    walk = _Walk()
    walk.read(_main(root))
    return walk.builder.parsed(title)


def _main(root: Any) -> Any:
    """Return the one element that is marked as main content and holds text, else the whole page."""
    for path in (".//main", ".//*[@role='main']", ".//article"):
        found = root.findall(path)
        if len(found) == 1 and any(part.strip() for part in found[0].itertext()):
            return found[0]
    return root


@dataclass
class _Walk:
    """One pass over the elements in reading order, without recursion."""

    builder: Builder = field(default_factory=Builder)
    buffer: list[str] = field(default_factory=list)
    preformatted: int = 0
    tight: bool = False
    mark: str = ""

    def read(self, root: Any) -> None:
        events = etree.iterwalk(root, events=("start", "end"))
        for event, element in events:
            if event == "end":
                self._leave(element, is_root=element is root)
            elif _is_skipped(element):
                events.skip_subtree()
            else:
                self._enter(element)
        self._flush()

    def _enter(self, element: Any) -> None:
        tag = element.tag
        if tag in _BLOCKS or tag in _HEADINGS:
            self._flush()
            self.tight = tag in _TIGHT
            self.mark = "- " if tag == "li" else self.mark
        elif tag in _CELLS and any(part.strip() for part in self.buffer):
            self.buffer.append(" | ")
        elif tag == "br":
            self.buffer.append("\n" if self.preformatted else _LINE_BREAK)
        elif tag == "img" and element.get("alt"):
            self.buffer.append(f" {element.get('alt')} ")
        self.preformatted += tag == "pre"
        self.buffer.append(element.text or "")

    def _leave(self, element: Any, *, is_root: bool) -> None:
        tag = element.tag
        if not _is_skipped(element):
            if tag in _HEADINGS:
                self.builder.heading(_HEADINGS[tag], "".join(self.buffer).replace(_LINE_BREAK, " "))
                self.buffer.clear()
            elif tag in _BLOCKS:
                self._flush()
            self.preformatted -= tag == "pre"
        if not is_root:
            self.buffer.append(element.tail or "")

    def _flush(self) -> None:
        whole = "".join(self.buffer)
        self.buffer.clear()
        text = whole.strip("\n") if self.preformatted else _AROUND_BREAK.sub("\n", collapse(whole)).strip()
        if text:
            self.builder.block(self.mark + text, tight=self.tight)
            self.mark = ""


def _is_skipped(element: Any) -> bool:
    return (
        element.tag in _SKIPPED
        or element.get("role") in _SKIPPED_ROLES
        or element.get("hidden") is not None
        or not _SKIPPED_CLASSES.isdisjoint((element.get("class") or "").split())
    )
