"""What of a memory is embedded. Pure."""

from hashlib import blake2b

from ragrid.services.memory.model import Memory, searchable

#: Characters that are embedded at most: more than any model of this size reads.
TEXT_CHARACTERS = 8000


def embedding_text(memory: Memory) -> str:
    """Return the text that stands for a memory: its content, and the strings in its data; empty when it has neither.

    Tags are left out: they are labels, and filters find them.
    """
    content, _, data = searchable(memory)
    return f"{content}\n{data}".strip()[:TEXT_CHARACTERS]


def digest_of(text: str) -> bytes:
    """Return a digest by which a vector knows the text that it was made of."""
    return blake2b(text.encode(), digest_size=12).digest()
