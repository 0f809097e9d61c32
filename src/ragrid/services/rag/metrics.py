"""What the service counts, under the names that dashboards and alerts use."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

DOCUMENTS = Gauge("rag_documents", "Documents in the ingest log, all tenants.")
CHUNKS = Gauge("rag_chunks", "Chunks in the ingest log, all tenants.")
PENDING = Gauge("rag_documents_pending", "Documents that no vector index holds in full yet.")
INGESTED = Counter("rag_ingests", "Files taken in, by what became of them.", ["status"])
RETRIEVAL_S = Histogram("rag_retrieval_seconds", "Question to fused passages, embedding included.", buckets=_SECONDS)
ASK_S = Histogram("rag_ask_seconds", "Question to the last word of the answer.", buckets=_SECONDS)
EMBED_S = Histogram("rag_embed_seconds", "One call of the embedder.", ["purpose"], buckets=_SECONDS)
DEGRADED = Counter("rag_degraded", "Answers that had to do without a part.", ["reason"])
