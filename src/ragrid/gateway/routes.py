"""The policy table: every request that the edge lets through, and what it asks of the caller. Pure.

First match wins, and what no route names is refused (404; 405 when only the method is wrong). A path is a literal with
`{name}` for one segment and a final `/**` for at least one more. `{tenant}` must equal the tenant of the token.
"""

from collections.abc import Mapping

from ragrid.gateway.policies.chromadb import CHROMADB
from ragrid.gateway.policies.memory import MEMORY
from ragrid.gateway.policies.rag import RAG
from ragrid.gateway.policies.tokens import TOKENS
from ragrid.gateway.policies.vllm import VLLM
from ragrid.gateway.route import ServicePolicy

#: Every service that the edge knows, by name.
POLICY: Mapping[str, ServicePolicy] = {policy.name: policy for policy in (CHROMADB, MEMORY, RAG, TOKENS, VLLM)}
