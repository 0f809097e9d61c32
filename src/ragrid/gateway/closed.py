"""What the services behind the edge offer and the edge keeps closed, each with the reason. Pure.

Nothing here is looked at when a request is decided: what `routes.POLICY` does not name is closed anyway. This list is
how a person tells what was closed on purpose from what a new release of a service brought; a test keeps it complete.
"""

from collections.abc import Mapping

#: (method, path as the service's own description writes it).
Operation = tuple[str, str]

_ADMINISTRATION = "administration of the process; the operator reaches it on the private port"
_PRIVATE = "for the agent and Prometheus, on the private port"
_OTHER_DIALECT = "not of the OpenAI API, which is what the grid promises"
_UNBOUND = "vLLM does not bind stored responses to a caller, so any caller could read those of all others"
_BESIDE_THE_API = "outside /v1; answers for a model without any of the OpenAI API's checks"

#: Service -> operation -> why it is closed.
CLOSED: Mapping[str, Mapping[Operation, str]] = {
    "chromadb": {
        ("GET", "/api/v2/collections/{crn}"): "a resource name can name another tenant",
        ("POST", "/api/v2/reset"): "empties the whole store, of every tenant",
    },
    "memory": {},
    "rag": {},
    "tokens": {("GET", "/revocations"): "for the gateway's controller, on the private port"},
    "vllm": {
        ("GET", "/health"): _PRIVATE,
        ("GET", "/kv_event_sources"): _ADMINISTRATION,
        ("GET", "/load"): _PRIVATE,
        ("GET", "/metrics"): _PRIVATE,
        ("GET", "/ping"): _PRIVATE,
        ("GET", "/v1/responses/{response_id}"): _UNBOUND,
        ("GET", "/version"): "tells strangers which known faults to try",
        ("POST", "/detokenize"): _BESIDE_THE_API,
        ("POST", "/generative_scoring"): _BESIDE_THE_API,
        ("POST", "/invocations"): _BESIDE_THE_API,
        ("POST", "/is_scaling_elastic_ep"): _ADMINISTRATION,
        ("POST", "/ping"): _PRIVATE,
        ("POST", "/scale_elastic_ep"): _ADMINISTRATION,
        ("POST", "/tokenize"): _BESIDE_THE_API,
        ("POST", "/v1/chat/completions/batch"): _OTHER_DIALECT,
        ("POST", "/v1/messages"): _OTHER_DIALECT,
        ("POST", "/v1/messages/count_tokens"): _OTHER_DIALECT,
        ("POST", "/v1/responses/{response_id}/cancel"): _UNBOUND,
        ("POST", "/v1/systemone"): _OTHER_DIALECT,
    },
}
