"""vLLM's routes: the OpenAI API. Pure."""

from ragrid.gateway.route import MIB, Route, ServicePolicy, read_route


def _infer(name: str, path: str) -> Route:
    """A call of the OpenAI API: safe to replay until its first byte is on the way to the caller."""
    return Route(
        name=name,
        methods=("POST",),
        path=path,
        permission="vllm:infer",
        idempotent=True,
        streaming=True,
        body_limit_bytes=32 * MIB,
        read_timeout_s=600.0,
        is_metered=True,
    )


#: An allowlist: vLLM leaves /tokenize, /sleep, /update_weights and more open to anybody. Stored responses
#: (GET /v1/responses/{id}) are closed, because vLLM does not bind them to a caller.
VLLM = ServicePolicy(
    name="vllm",
    prefixes=("/v1",),
    health_path="/health",
    forwards_authorization=False,
    routes=(
        _infer("chat", "/v1/chat/completions"),
        _infer("completions", "/v1/completions"),
        _infer("embeddings", "/v1/embeddings"),
        _infer("responses", "/v1/responses"),
        read_route("models", "/v1/models", "vllm:infer"),
        # `/**`: the names of models hold slashes (Qwen/Qwen3-8B)
        read_route("model", "/v1/models/**", "vllm:infer"),
    ),
)
