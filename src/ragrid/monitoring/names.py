"""The one list of metric names: what our parts export, and what our rules and pages ask for.

A rule that asks for a name nobody exports never fires, so tests hold the rules against this list, and the list against
the live /metrics of each part.
"""

#: Exported by the gateway (nginx, Lua). Labels: service, route, method, status (a class, "2xx"); histograms: service.
GATEWAY_REQUESTS = "gateway_requests_total"
GATEWAY_DURATION = "gateway_request_duration_seconds"
GATEWAY_FIRST_BYTE = "gateway_first_byte_seconds"
GATEWAY_IN_FLIGHT = "gateway_in_flight"
#: Seconds since the controller was last heard; -1 when it was not since nginx started.
GATEWAY_STATE_AGE = "gateway_state_age_seconds"
GATEWAY_STATE_VERSION = "gateway_state_version"
#: 0 from a configuration that was refused until the next that was taken.
GATEWAY_RELOADED = "gateway_config_last_reload_successful"

#: Exported by every ASGI service of ours. Labels: part, method, route, status.
HTTP_REQUESTS = "ragrid_http_requests_total"
HTTP_DURATION = "ragrid_http_request_duration_seconds"

#: Exported by services that verify tokens from files (memory, rag): seconds since revocations were last confirmed.
REVOCATIONS_AGE = "ragrid_revocations_age_seconds"

#: Exported by the memory service. Labels: search `mode`; failures `kind`; tool calls `tool`, `outcome`.
MEMORY_ROWS = "memory_rows"
MEMORY_STORE_BYTES = "memory_store_bytes"
MEMORY_WRITE_QUEUE = "memory_write_queue_depth"
MEMORY_COMMIT = "memory_commit_seconds"
MEMORY_COMMIT_BATCH = "memory_commit_batch_size"
#: SQLite only; PostgreSQL has checkpoints of its own.
MEMORY_CHECKPOINT = "memory_checkpoint_seconds"
#: SQLite only.
MEMORY_BACKUP_SUCCESS = "memory_backup_last_success_timestamp_seconds"
MEMORY_BACKUP_BYTES = "memory_backup_size_bytes"
MEMORY_BACKUP_FAILURES = "memory_backup_failures_total"
MEMORY_SEARCH = "memory_search_seconds"
MEMORY_QUERY_EMBED = "memory_query_embed_seconds"
MEMORY_OUTBOX_LAG = "memory_outbox_lag_seconds"
MEMORY_EMBEDDINGS_WAITING = "memory_embeddings_waiting"
MEMORY_EMBEDDINGS_GIVEN_UP = "memory_embeddings_given_up"
MEMORY_EMBEDDED = "memory_embedded_total"
MEMORY_EMBEDDING_FAILURES = "memory_embedding_failures_total"
MEMORY_VECTOR_CACHE = "memory_vector_cache_bytes"
#: PostgreSQL only, where pgvector is. Label: `way`.
MEMORY_VECTOR_INDEX = "memory_vector_index"
MEMORY_VECTOR_INDEX_ADDED = "memory_vector_index_added_total"
MEMORY_NEAREST = "memory_nearest_searches_total"
MEMORY_EXPIRED = "memory_expired_total"
MEMORY_TOOL_CALLS = "memory_tool_calls_total"
MEMORY_FEED_WAITING = "memory_feed_waiting"

#: Exported by every Python process of ours (prometheus_client).
PROCESS_MEMORY = "process_resident_memory_bytes"

#: Exported by the agent. Labels: part, instance; the registry's has none.
INSTANCE_UP = "ragrid_instance_up"
REGISTRY_UP = "ragrid_registry_up"
PART_GIVEN_UP = "ragrid_part_given_up"
#: Label: certificate.
CERTIFICATE_ENDS = "ragrid_certificate_ends_timestamp_seconds"

#: Exported by the process that keeps PostgreSQL. Labels: connections have `database`.
DATABASE_UP = "postgresql_up"
DATABASE_CONNECTIONS = "postgresql_connections"
DATABASE_MAX_CONNECTIONS = "postgresql_max_connections"
DATABASE_OLDEST_TRANSACTION = "postgresql_oldest_transaction_seconds"

#: Recorded by Prometheus from our rules.
SCRAPE_COVERAGE = "ragrid:scrape_coverage:ratio"
ERROR_RATIO = "ragrid:gateway_errors:ratio_rate"

GATEWAY = (
    GATEWAY_REQUESTS,
    GATEWAY_DURATION,
    GATEWAY_FIRST_BYTE,
    GATEWAY_IN_FLIGHT,
    GATEWAY_STATE_AGE,
    GATEWAY_STATE_VERSION,
    GATEWAY_RELOADED,
    "gateway_admin_closed",
    "gateway_ejections_total",
    "gateway_instance_up",
    "gateway_keys",
    "gateway_model_tokens_total",
    "gateway_refused_total",
    "gateway_released_total",
    "gateway_retries_total",
    "gateway_state_free_bytes",
    "gateway_state_refused_total",
    "gateway_timers_running",
)
SERVICES = (HTTP_REQUESTS, HTTP_DURATION)
VERIFIERS = (REVOCATIONS_AGE,)
MEMORY = (
    MEMORY_ROWS,
    MEMORY_STORE_BYTES,
    MEMORY_WRITE_QUEUE,
    MEMORY_COMMIT,
    MEMORY_COMMIT_BATCH,
    MEMORY_CHECKPOINT,
    MEMORY_BACKUP_SUCCESS,
    MEMORY_BACKUP_BYTES,
    MEMORY_BACKUP_FAILURES,
    MEMORY_SEARCH,
    MEMORY_QUERY_EMBED,
    MEMORY_OUTBOX_LAG,
    MEMORY_EMBEDDINGS_WAITING,
    MEMORY_EMBEDDINGS_GIVEN_UP,
    MEMORY_EMBEDDED,
    MEMORY_EMBEDDING_FAILURES,
    MEMORY_VECTOR_CACHE,
    MEMORY_VECTOR_INDEX,
    MEMORY_VECTOR_INDEX_ADDED,
    MEMORY_NEAREST,
    MEMORY_EXPIRED,
    MEMORY_TOOL_CALLS,
    MEMORY_FEED_WAITING,
)
PROCESS = (PROCESS_MEMORY,)
AGENT = (
    INSTANCE_UP,
    REGISTRY_UP,
    PART_GIVEN_UP,
    CERTIFICATE_ENDS,
    "ragrid_instance_registered",
    "ragrid_check_failures_total",
)

DATABASE = (DATABASE_UP, DATABASE_CONNECTIONS, DATABASE_MAX_CONNECTIONS, DATABASE_OLDEST_TRANSACTION)

#: Of node_exporter 1.5 (Debian 12), read from its /metrics.
NODE = (
    "node_cpu_seconds_total",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemTotal_bytes",
)

#: Of NVIDIA's dcgm-exporter (utilisation in percent) and of vLLM 0.32.
GPU = ("DCGM_FI_DEV_GPU_UTIL",)
VLLM = ("vllm:num_requests_waiting",)

#: Everything that a rule may ask for. `up` is Prometheus's own.
KNOWN = frozenset(
    (*GATEWAY, *SERVICES, *VERIFIERS, *MEMORY, *PROCESS, *AGENT, *DATABASE, *NODE, *GPU, *VLLM, SCRAPE_COVERAGE, "up")
)
