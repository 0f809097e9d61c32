"""From words to what the word index holds: digests that hold the namespace, too. Pure.

The index is one for all tenants; since a digest is the tenant's and the namespace's own, a search walks through the
entries of its namespace alone, and no statement ever finds a word of another's. 64 bits: among a million different
words, the chance that any two share a digest is one in forty million.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.model import Memory, searchable
from ragrid.services.memory.words import folded

_DIGEST_BYTES = 8
#: Digests that are remembered, of the words that came first and so most often: 40 MB at most.
_NAMESPACES_KEPT, _WORDS_KEPT, _LONG = 64, 4096, 32
#: Of one word, the server keeps this many places in a text at most, and no place above 16383.
_PLACES = 255
#: Places of content and tags, and of strings in `data`, which count half.
FULL, HALF = "A", "D"


class Lexemes:
    """The digests of one namespace; those of common words are remembered."""

    def __init__(self, scope: Scope) -> None:
        self._known: dict[str, str] = {}
        # The length of the first part keeps `("a", "bc")` apart from `("ab", "c")`.
        key = f"{len(scope.tenant)}:{scope.tenant}:{scope.namespace}".encode()
        self._state = blake2b(key, digest_size=_DIGEST_BYTES)

    def word(self, word: str) -> str:
        """Return the lexeme of a word, after `folded`."""
        known = self._known.get(word)
        if known is None:
            known = self._digest(b"\0w" + word.encode())
            if len(self._known) < _WORDS_KEPT and len(word) < _LONG:
                self._known[word] = known
        return known

    def tag(self, tag: str) -> str:
        """Return the lexeme that says that a memory carries a tag, to the letter."""
        return self._digest(b"\0t" + tag.encode())

    def indexed(self, memory: Memory) -> tuple[str, int]:
        """Return a memory's `tsvector` as text, and how many words it has."""
        content, tags, data = searchable(memory)
        whole = Counter(folded(content) + folded(tags))
        half = Counter(folded(data)) if data else Counter[str]()
        entries = [f"'{self.tag(tag)}'" for tag in memory.tags]
        entries += [f"'{self.word(word)}':{_places(whole[word], half[word])}" for word in whole | half]
        return " ".join(entries), whole.total() + half.total()

    def _digest(self, what: bytes) -> str:
        state = self._state.copy()
        state.update(what)
        return b64encode(state.digest()).decode()


@lru_cache(maxsize=_NAMESPACES_KEPT)
def lexemes_of(scope: Scope) -> Lexemes:
    """Return the digests of a namespace, with what is remembered of them."""
    return Lexemes(scope)


def any_of(lexemes: Iterable[str]) -> str:
    """Return the `tsquery`, as text, for any of `lexemes`."""
    return "|".join(f"'{one}'" for one in lexemes)


def all_of(lexemes: Iterable[str]) -> str:
    """Return the `tsquery`, as text, for all of `lexemes`."""
    return "&".join(f"'{one}'" for one in lexemes)


@lru_cache(maxsize=1024)
def _places(whole: int, half: int) -> str:
    whole = min(whole, _PLACES)
    half = min(half, _PLACES - whole)
    return ",".join([f"{n}{FULL}" for n in range(1, whole + 1)] + [f"{n}" for n in range(whole + 1, whole + half + 1)])
