"""The words of our own in the full-text index. They stand in its column `scope`, where no search for words looks."""


def scope_word(namespace: int) -> str:
    """Return the word that stands for a namespace in the full-text index."""
    return f"n{namespace}"


def twin_word(namespace: int, fingerprint: bytes) -> str:
    """Return the word that the memories of a namespace share which say the same."""
    return f"t{namespace}x{fingerprint.hex()}"


def scope_words(namespace: int, fingerprint: bytes | None) -> str:
    """Return what stands in the column `scope` for one memory."""
    word = scope_word(namespace)
    return word if fingerprint is None else f"{word} {twin_word(namespace, fingerprint)}"
