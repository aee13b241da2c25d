"""schemathesis against a running `serve`: the OpenAPI document and the API agree.

The same requests in every run: fixed seed, no memory of earlier runs, nothing taken from answers.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.schemas import BaseSchema

from blocklist.core.entries import Feed
from tests.api_repo import content, sha256
from tests.live_api import BURNED, RELEASES, TOKENS, LiveApi, live_api

EXAMPLES = 15  # of each operation in each phase
CHECKS = {
    "allow_header_conformance", "content_type_conformance", "ignored_auth",
    "negative_data_rejection", "not_a_server_error", "positive_data_acceptance",
    "response_headers_conformance", "response_schema_conformance", "status_code_conformance",
    "unsupported_method",
}  # fmt: skip
TARGET = "/v1/targets/{list}/{feed}/{name}"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApi]:
    with live_api(tmp_path_factory.mktemp("live")) as running:
        yield running


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[token]}"}


def load(api: LiveApi) -> BaseSchema:
    own = {"extra-data-sources": {"responses": False}}
    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "headers": bearer("admin"),
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
            "phases": {"fuzzing": own, "stateful": {"enabled": False}},
        }
    )
    return schemathesis.openapi.from_url(f"{api.url}/v1/openapi.json", config=config)


@dataclass
class Found:
    """What a run came to.

    Attributes:
        failures: What did not hold, and how to see it again.
        checks: How often each check was made.
        statuses: How often each operation answered with a status.
    """

    failures: list[str] = field(default_factory=list)
    checks: Counter[str] = field(default_factory=Counter)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    def take(self, scenario: events.ScenarioFinished) -> None:
        label = str(scenario.label)
        for node in (one for nodes in scenario.recorder.checks.values() for one in nodes):
            self.checks[node.name] += 1
            if node.status is not Status.SUCCESS:
                seen: Any = node.failure_info
                self.failures.append(f"{label} {node.name}: {seen and seen.failure}\n{seen}")
        for interaction in scenario.recorder.interactions.values():
            if interaction.response is not None:
                self.statuses[label, interaction.response.status_code] += 1


def run(schema: BaseSchema) -> Found:
    found = Found()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            found.take(event)
        elif isinstance(event, events.NonFatalError):
            found.failures.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception
    return found


def test_the_api_does_what_the_document_says(api: LiveApi) -> None:
    schema = load(api)
    found = run(schema)
    assert found.failures == []
    assert set(found.checks) >= CHECKS
    operations = {operation.ok().label for operation in schema.get_all_operations()}
    answered = {label for label, status in found.statuses if status == 200}
    assert answered == operations - {f"GET {TARGET}"}  # nobody can guess a digest
    assert sum(found.statuses.values()) > 300
    assert {status for _, status in found.statuses} >= {200, 304, 400, 401, 403, 404, 405}
    assert "Traceback" not in api.log.read_text()


DIGEST = sha256(content(Feed.CLEAR, RELEASES))
ONE = {"list": "demo", "feed": "clear"}
HASHED = {"list": "demo", "feed": "hashed"}
DIFF = "/v1/lists/{list}/{feed}/diff"


@pytest.mark.parametrize(
    ("path", "where", "query", "accept", "token", "status"),
    [
        (TARGET, {**ONE, "name": f"{DIGEST}.list"}, {}, "*/*", "full", 200),
        ("/v1/lists/{list}/{feed}/snapshot", HASHED, {}, "*/*", "hashed", 200),
        ("/v1/lists/{list}/{feed}", {"list": "none", "feed": "clear"}, {}, "*/*", "full", 404),
        ("/v1/subscribers", {}, {}, "*/*", "full", 403),
        (DIFF, ONE, {"from": 2, "to": 8}, "application/json", "clear", 200),
        (DIFF, ONE, {"from": 2}, "text/plain", "clear", 200),
        (DIFF, HASHED, {"from": 2}, "application/octet-stream", "hashed", 200),
        (DIFF, HASHED, {"from": 2}, "application/json", "hashed", 406),
        (DIFF, HASHED, {"from": 2}, "*/*", "clear", 403),
        (DIFF, ONE, {"from": BURNED}, "*/*", "full", 404),
        (DIFF, ONE, {"from": 0}, "application/octet-stream", "full", 303),
    ],
)  # fmt: skip
def test_answers_that_chance_does_not_find_are_as_documented(
    api: LiveApi,
    path: str,
    where: dict[str, str],
    query: dict[str, int],
    accept: str,
    token: str,
    status: int,
) -> None:
    case = load(api)[path]["GET"].Case(path_parameters=where, query=query)
    answer = case.call(headers={"Accept": accept, **bearer(token)}, allow_redirects=False)
    assert answer.status_code == status
    case.validate_response(answer)
