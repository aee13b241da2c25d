"""The OpenAPI document: valid, served, and about exactly the routes and problems that there are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from blocklist.api import lists, openapi, problems
from blocklist.api.app import create_app
from blocklist.api.diffing import routes as diff
from tests.api_repo import Api, Repo, assert_problem
from tests.fakes import MemoryStore

SHIPPED = Path(openapi.__file__).with_name(openapi.FILE)
COPY = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(SHIPPED.read_bytes())
OPEN = {"/healthz", "/readyz", "/metrics", "/v1/openapi.json"}
OPERATIONS = {path: item["get"] for path, item in DOCUMENT["paths"].items()}


def resolve(value: Any) -> Any:
    """Return what a value or reference stands for."""
    while isinstance(value, dict) and "$ref" in value:
        place: Any = DOCUMENT
        for name in value["$ref"].removeprefix("#/").split("/"):
            place = place[name]
        value = place
    return value


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a document."""
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from nodes(child)
    elif isinstance(value, list):
        for child in value:
            yield from nodes(child)


def validator(schema: Any) -> Any:
    """Return a validator of one schema of the document."""
    return jsonschema_rs.Draft202012Validator(
        {"allOf": [schema], "components": DOCUMENT["components"]}
    )


def described() -> Iterator[tuple[str, str, Any]]:
    """Yield path, status and description of every answer."""
    for path, operation in OPERATIONS.items():
        for status, answer in operation["responses"].items():
            yield path, status, resolve(answer)


def test_the_copy_in_the_documents_is_the_one_that_is_served() -> None:
    assert COPY.read_bytes() == SHIPPED.read_bytes()


def test_the_document_is_valid_openapi() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    errors = jsonschema_rs.Draft202012Validator(OPENAPI_31).iter_errors(DOCUMENT)
    assert [str(error) for error in errors] == []


def test_every_schema_is_valid() -> None:
    schemas = [*DOCUMENT["components"]["schemas"].values()]
    schemas += [node["schema"] for node in nodes(DOCUMENT) if "schema" in node]
    assert len(schemas) > 50
    for schema in schemas:
        jsonschema_rs.meta.validate(schema)


def test_every_reference_resolves_and_nothing_is_unused() -> None:
    used = {node["$ref"] for node in nodes(DOCUMENT) if "$ref" in node}
    for reference in used:
        assert resolve({"$ref": reference})
    components = DOCUMENT["components"]
    kinds = ("parameters", "headers", "responses", "schemas")
    assert used == {f"#/components/{kind}/{name}" for kind in kinds for name in components[kind]}


def test_every_example_has_its_shape() -> None:
    shown = [node for node in nodes(DOCUMENT) if "example" in node]
    assert len(shown) > 40
    for node in shown:
        assert validator(node["schema"]).is_valid(node["example"]), node["example"]
    for schema in DOCUMENT["components"]["schemas"].values():
        for example in schema.get("examples", []):
            assert validator(schema).is_valid(example)


def test_every_route_is_described_and_nothing_else() -> None:
    app = create_app(MemoryStore())
    rules = {rule.rule.replace("<list_name>", "<list>") for rule in app.url_map.iter_rules()}
    public = {rule for rule in rules if not rule.startswith("/internal/")}
    assert {path.replace("{", "<").replace("}", ">") for path in OPERATIONS} == public


def test_every_path_parameter_is_described() -> None:
    for path, operation in OPERATIONS.items():
        found = [resolve(parameter) for parameter in operation["parameters"]]
        inside = {p["name"] for p in found if p["in"] == "path"}
        assert inside == {part[1:-1] for part in path.split("/") if part.startswith("{")}


def test_the_query_parameters_are_those_that_are_taken() -> None:
    taken = {"update": lists.UPDATE_PARAMETERS, "diff": diff.DIFF_PARAMETERS}
    for operation in OPERATIONS.values():
        found = [resolve(parameter) for parameter in operation["parameters"]]
        names = {p["name"] for p in found if p["in"] == "query"}
        assert names == taken.get(operation["operationId"], set())


def test_a_token_is_asked_for_where_one_is_needed() -> None:
    assert DOCUMENT["security"] == [{"token": []}]
    assert {path for path, item in OPERATIONS.items() if item.get("security") == []} == OPEN
    assert all(item.get("security", []) == [] for item in OPERATIONS.values())
    client = create_app(MemoryStore()).test_client()
    for path, operation in OPERATIONS.items():
        status = client.get(path.format(list="demo", feed="clear", name="x")).status_code
        assert (status == 401) == ("401" in operation["responses"]) == (path not in OPEN), path


def test_every_kind_of_problem_is_described() -> None:
    kinds = {kind for module in (problems, diff) for kind in vars(module).values()
             if isinstance(kind, problems.Kind)}  # fmt: skip
    found = {
        (slug.removeprefix("/problems/"), int(status))
        for _, status, answer in described()
        if int(status) >= 400
        for slug in answer["content"][problems.MEDIA_TYPE]["schema"]["allOf"][1]["properties"][
            "type"
        ]["enum"]
    }
    assert found == {(kind.slug, kind.status) for kind in kinds}


def test_every_error_is_a_problem_of_its_status() -> None:
    for path, status, answer in described():
        if int(status) >= 400:
            (media,) = answer["content"]
            assert media == problems.MEDIA_TYPE, path
            schema = answer["content"][media]["schema"]
            assert schema["allOf"][1]["properties"]["status"]["const"] == int(status), path


@pytest.mark.parametrize(
    ("status", "header"),
    [("200", "ETag"), ("304", "ETag"), ("303", "Location"), ("401", "WWW-Authenticate"),
     ("405", "Allow"), ("429", "Retry-After"), ("503", "Retry-After")],
)  # fmt: skip
def test_headers_that_belong_to_a_status_are_described(status: str, header: str) -> None:
    found = {path: answer for path, code, answer in described() if code == status}
    without = {path for path, answer in found.items() if header not in answer["headers"]}
    fresh = {path for path, item in OPERATIONS.items() if "304" not in item["responses"]}
    allowed = {"200": fresh, "503": {"/readyz"}}
    assert len(found) > len(without)
    assert without <= allowed.get(status, set())


def test_the_document_is_served_to_everybody(tmp_path: Path) -> None:
    api = Api(Repo(tmp_path / "store"))
    answer = api.get("/v1/openapi.json", {})
    assert answer.data == SHIPPED.read_bytes()
    assert answer.content_type == "application/json"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    held = api.get("/v1/openapi.json", {}, If_None_Match=answer.headers["ETag"])
    assert (held.status_code, held.data) == (304, b"")
    assert_problem(api.get("/v1/openapi.json?x=1", {}), 400, "bad-request")
