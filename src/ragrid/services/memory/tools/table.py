"""Which operations are tools, and how they are told to a language model. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragrid.identity.claims import Claims
from ragrid.services.memory.api.confinement import is_held
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
        "restore_memory",
        "restoreMemory",
        "Make an earlier version the current one again, also after a delete; without `version`, undo the last change.",
    ),
    Tool(
        "pack_context",
        "packContext",
        "Get what to know now within a budget of tokens: pinned memories, what `query` finds, and the conversation"
        " `session_id`, its state and last messages. Call it at the start of a turn.",
    ),
    Tool(
        "append_messages",
        "appendMessages",
        "Add messages to the end of a conversation; they never change.",
    ),
    Tool("list_messages", "listMessages", "Read the messages of a conversation."),
    Tool("get_session_state", "readState", "Read the working state of a conversation: plans, unfinished work."),
    Tool("put_session_state", "replaceState", "Replace the working state of a conversation whole."),
    Tool("list_sessions", "listSessions", "List the conversations of a namespace."),
    Tool("delete_session", "deleteSession", "Erase a conversation, messages and state, for good."),
    Tool(
        "change_memories",
        "changeMemories",
        "Carry out up to 1,000 creates, puts, patches, deletes and restores in one commit; `atomic`: all or none.",
    ),
    Tool(
        "forget_matching",
        "forgetMemories",
        "Delete every memory that a filter matches: first with `dry_run`, which counts them and gives a token, then"
        " with that token and the same filter.",
    ),
    Tool(
        "list_changes",
        "readChanges",
        "Read what has changed since a `seq`, in order; go on with `next_since`. `since` may be `latest`.",
    ),
    Tool("list_namespaces", "listNamespaces", "List the namespaces with their settings and what is in them."),
    Tool("get_namespace", "readNamespace", "Read the settings of a namespace, its quotas and how much is in it."),
    Tool("put_namespace", "putNamespace", "Make a namespace, or replace its settings: life times, quotas, vectors."),
    Tool("delete_namespace", "deleteNamespace", "Erase a namespace with all that is in it and all its history."),
    Tool("memory_stats", "readStats", "Count namespaces, memories and their bytes."),
)
#: Operations that are no tools: streams and files are for programs, jobs and backups for who runs the grid.
NO_TOOLS = (
    "streamChanges",
    "exportMemories",
    "importMemories",
    "readJob",
    "listJobs",
    "reembed",
    "backup",
    "readDescription",
)
#: Tools that take away what is there, beside those whose method says so.
DESTRUCTIVE = frozenset({"forgetMemories", "changeMemories"})


def offered(operations: Sequence[Operation], claims: Claims | None = None) -> Mapping[str, tuple[Tool, Operation]]:
    """Return the tools that the caller may use, by name, in the order of the table; without `claims`, all of them."""
    known = {one.id: one for one in operations if claims is None or _is_allowed(one, claims)}
    return {tool.name: (tool, known[tool.operation_id]) for tool in TOOLS if tool.operation_id in known}


def _is_allowed(operation: Operation, claims: Claims) -> bool:
    return operation.permission in claims.permissions and is_held(operation.id, claims)
