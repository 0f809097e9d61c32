"""Which operations are tools, and how they are told to a language model. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ragrid.services.memory.api.operation import Operation

#: What a client tells its model about the whole server.
INSTRUCTIONS = """\
A durable memory of structured notes that outlives this conversation. Search before you answer questions about people,
decisions or earlier work. Remember one fact at a time, in a full sentence that is understood without its context, with
`user_id` when it is about a person and `tags` to find it again. When a fact has changed, update or delete the old
memory rather than adding a second one. Give `if_version` when you change what you have read: the change is then
refused when somebody else was faster. Refusals say what to do."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One operation under a name that a model chooses it by."""

    name: str
    operation_id: str
    description: str


TOOLS: Sequence[Tool] = (
    Tool("remember", "createMemory", "Keep a new memory. It is durable once this answers; returns it with its id."),
    Tool(
        "search_memories",
        "searchMemories",
        "Find memories by what they say, best first. Ask in plain words; filters are kept, never relaxed.",
    ),
    Tool("get_memory", "readMemory", "Read one memory by its id."),
    Tool(
        "list_memories",
        "listMemories",
        "List memories, newest first. For the next page, give `next_cursor` as `cursor` with the same filters.",
    ),
    Tool(
        "put_memory",
        "replaceMemory",
        "Make the memory at an id of your own choice, or replace it whole: what you leave out gets its default."
        " `if_absent` only makes it.",
    ),
    Tool(
        "update_memory",
        "patchMemory",
        "Change some members of a memory, leave the rest. In `changes`, null takes a member away, objects are merged.",
    ),
    Tool("forget_memory", "deleteMemory", "Delete a memory. Its history stays and can be read."),
    Tool(
        "memory_history",
        "readHistory",
        "List the versions of a memory, newest first: what it said, who changed it.",
    ),
    Tool(
        "get_context",
        "packContext",
        "Get what to know now within a budget of tokens: pinned memories, what `query` finds, and the conversation"
        " `session_id`. Call it at the start of a turn.",
    ),
    Tool(
        "restore_memory",
        "restoreMemory",
        "Make an earlier version the current one again, also after a delete; without `version`, undo the last change.",
    ),
    Tool(
        "pack_context",
        "packContext",
        "Choose what to know now, within a budget of tokens: pinned and fitting memories, recent messages, the state.",
    ),
    Tool(
        "append_messages",
        "appendMessages",
        "Add messages to the end of a conversation; they never change.",
    ),
    Tool("list_messages", "listMessages", "Read the messages of a conversation."),
    Tool("get_session_state", "readState", "Read the working state of a conversation: plans, unfinished work."),
    Tool("put_session_state", "replaceState", "Replace the working state of a conversation whole."),
)


def offered(operations: Sequence[Operation], permissions: Collection[str]) -> Mapping[str, tuple[Tool, Operation]]:
    """Return the tools that a caller with `permissions` may use, by name, in the order of the table."""
    known = {one.id: one for one in operations if one.permission in permissions}
    return {tool.name: (tool, known[tool.operation_id]) for tool in TOOLS if tool.operation_id in known}
