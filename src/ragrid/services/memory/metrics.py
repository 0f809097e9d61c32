"""What the memory service counts beside its requests."""

from prometheus_client import Counter, Gauge, Histogram

STORE_BYTES = Gauge("memory_store_bytes", "Size of the store on disk, its log included.")
ROWS = Gauge("memory_rows", "Memories that are neither deleted nor swept.")
WRITE_QUEUE_DEPTH = Gauge("memory_write_queue_depth", "Writes accepted and not yet answered.")
COMMIT_BATCH_SIZE = Histogram(
    "memory_commit_batch_size", "Changes that one commit carried.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
COMMIT_SECONDS = Histogram(
    "memory_commit_seconds",
    "Time of one commit, from the first change in it to the disk's word.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
SEARCH_SECONDS = Histogram(
    "memory_search_seconds",
    "Time of one search in the store.",
    ["mode"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
EXPIRED = Counter("memory_expired_total", "Memories erased because their time was over.")
TOOL_CALLS = Counter("memory_tool_calls_total", "Calls of MCP tools.", ["tool", "outcome"])
