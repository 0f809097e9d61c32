"""A context pack: of what an agent should know now, what fits into a budget of tokens, and why it is there. Pure.

No tokenizer is asked: a text is reckoned at its UTF-8 bytes divided by `bytes_per_token`, rounded up, and a few for
what goes around it. At 3 bytes a token that is more than tokenizers make of prose (about 4 bytes), and not less than
they make of code and of scripts with 3 bytes a character; a caller who knows the model better says so.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

#: What a model's chat template adds around a piece, tokens.
AROUND_TOKENS = 4

Reason = Literal["state", "pinned", "found", "recent"]

_encode = msgspec.json.Encoder().encode


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Something that may go into a pack. `id` is the memory's, the session's, or the index of the message in it."""

    kind: Literal["state", "memory", "message"]
    id: str
    text: str
    tokens: int
    reason: Reason
    score: float | None = None


class LeftOut(msgspec.Struct, frozen=True):
    """Something for which there was no room."""

    kind: Literal["state", "memory", "message"]
    id: str
    tokens: int
    reason: Reason


class Pack(msgspec.Struct, frozen=True):
    """What fits, in the order in which a model should read it, and what did not."""

    items: tuple[Piece, ...]
    used_tokens: int
    left_out: tuple[LeftOut, ...]


class Offer(msgspec.Struct, frozen=True):
    """What a pack is chosen from: each kind in the order in which it is wanted, messages from the newest on."""

    state: Piece | None
    pinned: Sequence[Piece]
    found: Sequence[Piece]
    recent: Sequence[Piece]


def tokens_of(text: str, bytes_per_token: float) -> int:
    """Return what a text is reckoned at."""
    return math.ceil(len(text.encode()) / bytes_per_token) + AROUND_TOKENS


def pack(offer: Offer, *, budget_tokens: int, message_share: float) -> Pack:
    """Choose what fits into `budget_tokens`.

    The state and what is pinned come first. Messages get `message_share` of what is left then, from the newest on and
    without a gap; memories get the rest, best first, and one that is too long gives way to the next; what they leave
    goes to older messages. The pack is read in the order state, pinned, found, and messages from the oldest on.
    """
    first = ([offer.state] if offer.state is not None else []) + list(offer.pinned)
    known = {piece.id for piece in offer.pinned}
    found = [piece for piece in offer.found if piece.id not in known]
    leading, left = _fitting(first, budget_tokens)
    recent, unspent = _unbroken(offer.recent, math.floor(left * message_share))
    memories, left = _fitting(found, left - math.floor(left * message_share) + unspent)
    older, left = _unbroken(offer.recent[len(recent) :], left)
    recent += older
    items = (*leading, *memories, *reversed(recent))
    chosen = {(piece.kind, piece.id) for piece in items}
    left_out = tuple(
        LeftOut(piece.kind, piece.id, piece.tokens, piece.reason)
        for piece in (*first, *found, *offer.recent)
        if (piece.kind, piece.id) not in chosen
    )
    return Pack(items, budget_tokens - left, left_out)


def memory_piece(doc: bytes, reason: Reason, bytes_per_token: float, *, score: float | None = None) -> Piece:
    """Return the piece for a memory's document: its content, and its data as JSON."""
    memory: dict[str, Any] = msgspec.json.decode(doc)
    text = _joined(memory["content"], memory["data"])
    tokens = tokens_of(text, bytes_per_token)
    return Piece(kind="memory", id=memory["id"], text=text, tokens=tokens, reason=reason, score=score)


def message_piece(doc: bytes, bytes_per_token: float) -> Piece:
    """Return the piece for a message's document: who said what."""
    message: dict[str, Any] = msgspec.json.decode(doc)
    speaker = message["role"] if message["name"] is None else f"{message['role']} ({message['name']})"
    text = f"{speaker}: {_joined(message['content'], message['data'])}"
    tokens = tokens_of(text, bytes_per_token)
    return Piece(kind="message", id=str(message["index"]), text=text, tokens=tokens, reason="recent")


def state_piece(doc: bytes, session_id: str, bytes_per_token: float) -> Piece:
    """Return the piece for a session's state: its data as JSON."""
    text = _encode(msgspec.json.decode(doc)["data"]).decode()
    return Piece(kind="state", id=session_id, text=text, tokens=tokens_of(text, bytes_per_token), reason="state")


def _fitting(pieces: Sequence[Piece], tokens: int) -> tuple[list[Piece], int]:
    """Return the pieces that fit, in order, passing over those that do not; and what is left."""
    chosen: list[Piece] = []
    for piece in pieces:
        if piece.tokens <= tokens:
            chosen.append(piece)
            tokens -= piece.tokens
    return chosen, tokens


def _unbroken(pieces: Sequence[Piece], tokens: int) -> tuple[list[Piece], int]:
    """Return the pieces up to the first that does not fit, and what is left."""
    chosen: list[Piece] = []
    for piece in pieces:
        if piece.tokens > tokens:
            break
        chosen.append(piece)
        tokens -= piece.tokens
    return chosen, tokens


def _joined(content: str, data: dict[str, Any]) -> str:
    if not data:
        return content
    text = _encode(data).decode()
    return f"{content}\n{text}" if content else text
