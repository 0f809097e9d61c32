"""A service that calls for longer than its token lives, with the real token service killed meanwhile."""

import itertools
import json
import signal
import threading
import time

from ragrid.client import ClientCredentials, GridClient
from ragrid.errors import UnreachableError
from ragrid.identity.strict import decode_base64url
from support.token_service import TokenService

LIFE_S = 6
LIMIT_S = 60.0


def expiry_of(token: str) -> float:
    return float(json.loads(decode_base64url(token.split(".")[1]))["exp"])


def test_a_service_outlives_its_tokens_and_a_killed_token_service(service: TokenService) -> None:
    service.access_token_s, service.service_token_s = LIFE_S, LIFE_S
    service.start()
    client = GridClient(f"http://127.0.0.1:{service.port}")
    tokens = ClientCredentials(client, "memory", service.secrets["memory"])
    used = [tokens()]
    service.end(signal.SIGKILL)
    back = threading.Timer(2.5, service.start)
    back.start()
    try:
        until_s = time.monotonic() + LIMIT_S
        while len(set(used)) < 2 and time.monotonic() < until_s:
            try:
                used.append(tokens())
            except UnreachableError:  # only a machine that takes seconds to start the service comes here
                assert time.time() > expiry_of(used[-1]) - LIFE_S / 4 - 1, "a token was given up while it was good"
            else:
                assert time.time() < expiry_of(used[-1]), "a token was used after its end"
            time.sleep(0.02)
    finally:
        back.join()
        client.close()
    renewed_s = [expiry_of(token) for token in dict.fromkeys(used)]
    assert len(renewed_s) == 2
    assert all(later - earlier > 1 for earlier, later in itertools.pairwise(renewed_s))
