"""From what a user types to the words that lexical search looks for. Pure; no query language shines through."""

import re
import unicodedata

#: Words of a query that are looked for; a question of 2,000 characters has about 350.
WORD_LIMIT = 400
QUERY_CHARACTERS = 2000

# Runs of letters and digits of any script: what FTS5's unicode61 takes for a token.
_WORD = re.compile(r"[^\W_]+")


def words_of(query: str) -> tuple[str, ...]:
    """Return the distinct words of `query` in order, without any punctuation or operator."""
    found: dict[str, str] = {}
    for word in _WORD.findall(unicodedata.normalize("NFC", query)):
        found.setdefault(word.lower(), word)
    return tuple(found.values())[:WORD_LIMIT]


def match_expression(words: tuple[str, ...], scope_word: str) -> str:
    """Return the FTS5 expression for any of `words` in one namespace; each word is a quoted string, never syntax."""
    return within(any_of(words), scope_word)


def match_anywhere(words: tuple[str, ...]) -> str:
    """Return the FTS5 expression for any of `words` in the whole store; who uses it asks each row for its namespace."""
    return within(any_of(words), None)


def within(expression: str, scope_word: str | None) -> str:
    """Return the FTS5 expression for an expression of quoted words, in one namespace or (None) in the whole store."""
    anywhere = f"{{content tags data}} : ({expression})"
    return anywhere if scope_word is None else f'scope : "{scope_word}" AND {anywhere}'


def any_of(words: tuple[str, ...]) -> str:
    """Return the FTS5 expression for any of `words`; each is a quoted string, never syntax."""
    return " OR ".join('"' + word.replace('"', '""') + '"' for word in words)


def folded(text: str) -> list[str]:
    """Return the words of `text` as they are compared: without case and without accents."""
    if text.isascii():
        return _WORD.findall(text.lower())
    plain = unicodedata.normalize("NFKD", text.lower())
    return _WORD.findall("".join(one for one in plain if not unicodedata.combining(one)))
