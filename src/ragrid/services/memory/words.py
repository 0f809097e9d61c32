"""From what a user types to the words that lexical search looks for. Pure; no query language shines through."""

import re

#: Words of a query that are looked for; a question of 2,000 characters has about 350.
WORD_LIMIT = 400
QUERY_CHARACTERS = 2000

# Letters and digits of any script, with combining marks; what FTS5's unicode61 takes for a token, or a superset of it.
_WORD = re.compile(r"\w+")


def words_of(query: str) -> tuple[str, ...]:
    """Return the distinct words of `query` in order, lower case, without any punctuation or operator."""
    found = dict.fromkeys(word for word in _WORD.findall(query.casefold()) if word.strip("_"))
    return tuple(found)[:WORD_LIMIT]


def match_expression(words: tuple[str, ...], scope_word: str) -> str:
    """Return the FTS5 expression for any of `words` in one namespace; each word is a quoted string, never syntax."""
    anything = " OR ".join('"' + word.replace('"', '""') + '"' for word in words)
    return f'scope : "{scope_word}" AND {{content tags data}} : ({anything})'
