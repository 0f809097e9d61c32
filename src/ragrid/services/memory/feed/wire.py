"""The change feed on the wire: one JSON object for each change, alone or as a server-sent event. Pure."""

import msgspec

from ragrid.services.memory.model import moment
from ragrid.services.memory.protocol.feed import FeedEvent

#: What a stream begins with: how soon a client that lost it comes back, milliseconds.
STREAM_OPENING = b"retry: 1000\n\n"
#: What keeps a quiet stream open on its way through proxies; clients skip it.
HEARTBEAT = b": still here\n\n"

_encode = msgspec.json.Encoder().encode


def render_event(event: FeedEvent) -> bytes:
    """Return the JSON of one change."""
    return _encode(
        {
            "seq": event.seq,
            "op": event.op,
            "id": event.id,
            "version": event.version,
            "at": moment(event.at_us),
            "actor": event.actor,
            "memory": None if event.doc is None else msgspec.Raw(event.doc),
        }
    )


def server_sent(event: FeedEvent) -> bytes:
    """Return one change as a server-sent event; its id is what `Last-Event-ID` brings back.

    JSON holds no line break outside of strings, and escapes those inside, so one `data` line is enough.
    """
    return b"id: %d\nevent: change\ndata: %s\n\n" % (event.seq, render_event(event))


def server_sent_end(reason: str) -> bytes:
    """Return the last event of a stream that the server ends; the client may come back at once."""
    return b"event: end\ndata: %s\n\n" % _encode({"reason": reason})
