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
CHECKPOINT_SECONDS = Histogram(
    "memory_checkpoint_seconds",
    "Time to move what the write-ahead log holds into the file, once.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
BACKUP_SUCCESS = Gauge(
    "memory_backup_last_success_timestamp_seconds", "When the newest backup was made, since the Unix epoch; 0: none is."
)
BACKUP_BYTES = Gauge("memory_backup_size_bytes", "Size of the newest backup.")
BACKUP_FAILURES = Counter("memory_backup_failures_total", "Backups that were begun and not made.")
SEARCH_SECONDS = Histogram(
    "memory_search_seconds",
    "Time of one search in the store.",
    ["mode"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
EXPIRED = Counter("memory_expired_total", "Memories erased because their time was over.")
TOOL_CALLS = Counter("memory_tool_calls_total", "Calls of MCP tools.", ["tool", "outcome"])
OUTBOX_LAG_SECONDS = Gauge("memory_outbox_lag_seconds", "How long the oldest text has waited for its vector.")
EMBEDDINGS_WAITING = Gauge("memory_embeddings_waiting", "Texts that wait for their vectors.")
EMBEDDINGS_GIVEN_UP = Gauge("memory_embeddings_given_up", "Texts that the embedder refused too often.")
EMBEDDED = Counter("memory_embedded_total", "Texts that got their vectors.")
EMBEDDING_FAILURES = Counter(
    "memory_embedding_failures_total",
    "Embeddings that failed: the embedder away, a text refused, a question.",
    ["kind"],
)
QUERY_EMBED_SECONDS = Histogram(
    "memory_query_embed_seconds",
    "Time to embed the question of one search.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
VECTOR_CACHE_BYTES = Gauge("memory_vector_cache_bytes", "Memory that holds the vectors of namespaces searched last.")
VECTOR_INDEX = Gauge("memory_vector_index", "1 while PostgreSQL keeps an index of vectors, 0 while all are compared.")
VECTOR_INDEX_ADDED = Counter("memory_vector_index_added_total", "Vectors that were put into PostgreSQL's index.")
NEAREST_SEARCHES = Counter(
    "memory_nearest_searches_total",
    "Searches by meaning beside an index of vectors: answered by it, from the few that a filter left, or from all.",
    ["way"],
)
FEED_WAITING = Gauge("memory_feed_waiting", "Clients that wait for changes: long polls and streams.")
