"""What there is to see of the memory service, on one page of Grafana (pure)."""

from ragrid.monitoring import names
from ragrid.monitoring.grafana import Dashboard, Panel, Query, Row

_WHICH = 'part="memory",instance=~"$instance"'
_QUANTILES = (0.5, 0.95, 0.99)


def memory_dashboard() -> Dashboard:
    """Return the page."""
    return Dashboard(
        uid="ragrid-memory",
        title="ragrid: memory",
        about="The memory service: requests, writes, searches, vectors, and what it holds.",
        instances='up{part="memory"}',
        rows=(_requests(), _held(), _writes(), _search(), _vectors(), _callers()),
    )


def _requests() -> Row:
    total = f"{names.HTTP_REQUESTS}{{{_WHICH}}}"
    failed = f'{names.HTTP_REQUESTS}{{{_WHICH},status=~"5.."}}'
    return Row(
        "Requests",
        (
            Panel(
                title="API calls",
                about="Requests answered in a second, by operation. Health checks and scrapes are among them.",
                queries=(Query(_rate(total, "method, route"), "{{method}} {{route}}"),),
                unit="reqps",
            ),
            Panel(
                title="Response time",
                about="From the head of a request to the end of its answer, here; waiting for changes counts.",
                queries=(*_quantiles(names.HTTP_DURATION), Query(_mean(names.HTTP_DURATION), "mean")),
                unit="s",
                warn_at=0.1,
            ),
            Panel(
                title="Refusals and failures",
                about="Requests in a second that were not answered with success; 5xx is ours to mend.",
                queries=(
                    Query(_rate(f'{names.HTTP_REQUESTS}{{{_WHICH},status=~"[45].."}}', "status"), "{{status}}"),
                    Query(f"(sum(rate({failed}[$__rate_interval])) or vector(0))", "all 5xx"),
                ),
                unit="reqps",
            ),
        ),
    )


def _held() -> Row:
    return Row(
        "What it holds",
        (
            _gauge("Memories", names.MEMORY_ROWS, "Neither deleted nor swept."),
            _gauge("Store on disk", names.MEMORY_STORE_BYTES, "The store's files, its log included.", unit="bytes"),
            Panel(
                title="Age of the newest backup",
                about="Since `POST /memory/v1/admin/backup` last made one; empty while there is none. SQLite only.",
                queries=(Query(f"time() - ({names.MEMORY_BACKUP_SUCCESS}{{{_WHICH}}} > 0)", "age"),),
                unit="s",
            ),
            _gauge("Newest backup", names.MEMORY_BACKUP_BYTES, "Its size; 0 while there is none.", unit="bytes"),
            Panel(
                title="Backups that failed",
                about="In the last day; the service's log says why.",
                queries=(Query(f"increase({names.MEMORY_BACKUP_FAILURES}{{{_WHICH}}}[1d])", "failed"),),
            ),
            _gauge("Memory in use", names.PROCESS_MEMORY, "Resident memory of the process.", unit="bytes"),
        ),
    )


def _writes() -> Row:
    return Row(
        "Writes",
        (
            _gauge("Write queue", names.MEMORY_WRITE_QUEUE, "Accepted and not yet answered. 2,048 are its limit."),
            Panel(
                title="Commit",
                about="From the first change in a commit to the disk's word.",
                queries=_quantiles(names.MEMORY_COMMIT),
                unit="s",
            ),
            Panel(
                title="Changes in a commit",
                about="More under load: writes that wait share the next commit.",
                queries=(Query(_mean(names.MEMORY_COMMIT_BATCH), "mean"),),
            ),
            Panel(
                title="Checkpoint",
                about="Time in which SQLite moves its log into the file, beside the writes.",
                queries=_quantiles(names.MEMORY_CHECKPOINT),
                unit="s",
            ),
        ),
    )


def _search() -> Row:
    return Row(
        "Search",
        (
            Panel(
                title="Searches",
                about="Searches in a second, by mode.",
                queries=(Query(_rate(f"{names.MEMORY_SEARCH}_count{{{_WHICH}}}", "mode"), "{{mode}}"),),
                unit="ops",
            ),
            Panel(
                title="Search in the store",
                about="99 of 100 searches were quicker, by mode.",
                queries=(Query(_quantile(0.99, names.MEMORY_SEARCH, "mode"), "{{mode}}"),),
                unit="s",
            ),
            Panel(
                title="Embedding of questions",
                about="What a question waits for before a search by meaning can start.",
                queries=_quantiles(names.MEMORY_QUERY_EMBED),
                unit="s",
            ),
        ),
    )


def _vectors() -> Row:
    return Row(
        "Vectors",
        (
            _gauge(
                "Outbox lag",
                names.MEMORY_OUTBOX_LAG,
                "How long the oldest text has waited for its vector; it is found by its words meanwhile.",
                unit="s",
                warn_at=60.0,
            ),
            Panel(
                title="Outbox",
                about="Texts that wait, and those that the embedder refused too often.",
                queries=(
                    Query(_sum(names.MEMORY_EMBEDDINGS_WAITING), "waiting"),
                    Query(_sum(names.MEMORY_EMBEDDINGS_GIVEN_UP), "given up"),
                ),
            ),
            Panel(
                title="Embedded and failed",
                about="Texts in a second.",
                queries=(
                    Query(_rate(f"{names.MEMORY_EMBEDDED}{{{_WHICH}}}", "part"), "embedded"),
                    Query(_rate(f"{names.MEMORY_EMBEDDING_FAILURES}{{{_WHICH}}}", "kind"), "failed: {{kind}}"),
                ),
                unit="ops",
            ),
            Panel(
                title="Index of vectors",
                about="Searches by meaning beside PostgreSQL's index, by what answered them, and vectors put into it.",
                queries=(
                    Query(_rate(f"{names.MEMORY_NEAREST}{{{_WHICH}}}", "way"), "{{way}}"),
                    Query(_rate(f"{names.MEMORY_VECTOR_INDEX_ADDED}{{{_WHICH}}}", "part"), "vectors added"),
                    Query(f"max({names.MEMORY_VECTOR_INDEX}{{{_WHICH}}})", "there is one"),
                ),
            ),
            _gauge("Vector cache", names.MEMORY_VECTOR_CACHE, "Vectors of the namespaces searched last.", unit="bytes"),
        ),
    )


def _callers() -> Row:
    return Row(
        "Agents and feeds",
        (
            Panel(
                title="MCP tools",
                about="Calls in a second, by tool and outcome.",
                queries=(
                    Query(_rate(f"{names.MEMORY_TOOL_CALLS}{{{_WHICH}}}", "tool, outcome"), "{{tool}}, {{outcome}}"),
                ),
                unit="ops",
            ),
            _gauge("Waiting for changes", names.MEMORY_FEED_WAITING, "Long polls and streams."),
            Panel(
                title="Expired",
                about="Memories erased in a second because their time was over.",
                queries=(Query(_rate(f"{names.MEMORY_EXPIRED}{{{_WHICH}}}", "part"), "expired"),),
                unit="ops",
            ),
        ),
    )


def _gauge(title: str, metric: str, about: str, *, unit: str = "short", warn_at: float | None = None) -> Panel:
    query = Query(f"{metric}{{{_WHICH}}}", "{{instance}}")
    return Panel(title=title, about=about, queries=(query,), unit=unit, warn_at=warn_at)


def _sum(metric: str) -> str:
    return f"sum({metric}{{{_WHICH}}})"


def _rate(selector: str, by: str) -> str:
    return f"sum by ({by}) (rate({selector}[$__rate_interval]))"


def _mean(histogram: str) -> str:
    total, count = (f"sum(rate({histogram}_{end}{{{_WHICH}}}[$__rate_interval]))" for end in ("sum", "count"))
    return f"{total} / ({count} > 0)"


def _quantile(quantile: float, histogram: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile:g}, {_rate(f'{histogram}_bucket{{{_WHICH}}}', labels)})"


def _quantiles(histogram: str) -> tuple[Query, ...]:
    return tuple(Query(_quantile(one, histogram), f"p{one * 100:g}") for one in _QUANTILES)
