"""Made-up requests, right and wrong, for every operation of an API document.

usage: fuzz.py OPENAPI.JSON URL SOURCE_ADDRESS ROLE

ROLE is what the source address holds: `none` must get nothing but 4xx wherever the document asks for something, and
`use` must never see a 5xx, save where nothing is ready to answer. Only heads are read: event streams have no end.
"""

import json
import sys
import warnings

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from requests.adapters import HTTPAdapter
from schemathesis import GenerationMode

# Of each mode for each operation: about ten seconds for all services.
EXAMPLES = 12
SEED = 20261120


class FromAddress(HTTPAdapter):
    """Connects from an address of its own."""

    def __init__(self, address):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, source_address=(self.address, 0), **kwargs)


def verdict(access, role, status, body):
    """What is wrong with an answer, or None."""
    if access == "public":
        return None if status < 500 or status == 503 else "a public route failed"
    if role == "none":
        return None if 400 <= status < 500 else "a stranger was not refused"
    if status < 500 or (status == 503 and b'"code"' in body):
        return None
    return "a server error"


def send(session, request):
    """Once more where the connection broke: a server that refuses before it has read the body may close it."""
    for _ in range(3):
        try:
            return session.request(**request)
        except requests.ConnectionError as error:
            broken = error
    raise broken


def main(document, url, address, role):
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", FromAddress(address))
    session.headers["connection"] = "close"
    schema = schemathesis.openapi.from_path(document)
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        access = operation.definition.raw["x-remora-access"]
        for mode in GenerationMode:
            strategy = operation.as_strategy(generation_mode=mode)

            @seed(SEED)
            @settings(max_examples=EXAMPLES, database=None, deadline=None, phases=[Phase.generate],
                      suppress_health_check=list(HealthCheck))
            @given(strategy)
            def ask(case):
                nonlocal count
                count += 1
                request = case.as_transport_kwargs(base_url=url)
                request.update(stream=True, timeout=20, allow_redirects=False)
                with send(session, request) as answer:
                    status = answer.status_code
                    body = answer.raw.read(4096) if status >= 400 else b""
                problem = verdict(access, role, status, body)
                assert problem is None, f"{problem}: {status} {body[:300]!r} to {case.as_curl_command()}"

            before = count
            try:
                ask()
            except Unsatisfiable:
                # An operation without parameters and body has nothing to be wrong about.
                assert mode is GenerationMode.NEGATIVE and count == before, operation.label
    print(json.dumps({"requests": count}))
    assert count > 50, f"only {count} requests were made"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
