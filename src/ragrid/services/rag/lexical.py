"""From a question to a full-text query. Pure."""

import re

_WORD = re.compile(r"\w+")
#: Words of a question that are looked for, at most; more of them do not make it clearer.
_QUERY_WORDS = 64
#: Too common to tell one English passage from another.
_STOP_WORDS = frozenset(
    _WORD.findall(
        """a about an and any are as at be been but by can could did do does for from had has have how i if in into is
        it its may me must my no not of on or our shall should so such than that the their them then there these they
        this to was we were what when where which who whom whose why will with would you your"""
    )
)


def match_expression(question: str) -> str:
    """Return an FTS5 query for any of the telling words of `question`; empty when it has no word at all.

    Every word is quoted, so that nothing in a question is an operator.
    """
    words = list(dict.fromkeys(_WORD.findall(question.lower())))
    telling = [word for word in words if word not in _STOP_WORDS] or words
    return " OR ".join(f'"{word}"' for word in telling[:_QUERY_WORDS])
