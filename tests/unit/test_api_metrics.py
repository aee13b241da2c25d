"""Figures: what is counted and seen, in Prometheus' text format, without names of subscribers."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from blocklist.api.settings import ApiSettings
from blocklist.core.errors import StoreUnreachable
from blocklist.store.shared import SharedState
from scripts.services.redis import Redis
from tests.api_repo import TOKEN, Api, QuickStore, Repo

Figures = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    repo.releases(2)
    return repo


@pytest.fixture
def api(template: Repo, tmp_path: Path) -> Api:
    return Api(template.copy(tmp_path / "store"))


def figures(api: Api) -> Figures:
    answer = api.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def one(api: Api, name: str, **labels: str) -> float | None:
    return figures(api).get((f"blocklist_{name}", tuple(sorted(labels.items()))))


def test_requests_are_counted_by_pattern_method_and_status(api: Api) -> None:
    route = "/v1/lists/<list_name>/<feed>"
    for path in ("/v1/lists/demo/clear", "/v1/lists/demo/hashed", "/v1/lists/none/clear", "/nope"):
        api.get(path)
    api.client.open("/v1/lists/demo/clear", method="BREW")
    found = figures(api)

    def count(route: str, method: str, status: str) -> float | None:
        labels = (("method", method), ("route", route), ("status", status))
        return found.get(("blocklist_requests_total", labels))

    assert count(route, "GET", "200") == 2
    assert count(route, "GET", "403") == 1
    assert count("none", "GET", "404") == 1
    assert count("none", "other", "405") == 1
    assert found["blocklist_request_seconds_count", (("route", route),)] == 3


def test_the_head_and_the_lists_are_seen(api: Api) -> None:
    head = api.repo.head()
    for role in (head.root, head.targets, head.snapshot, head.timestamp):
        assert one(api, "head_version", role=role.name) == role.version
        expiry = role.signed.expires.timestamp()
        assert one(api, "head_expiry_timestamp_seconds", role=role.name) == expiry
    assert one(api, "list_version", list="demo") == 2
    assert one(api, "list_entries", list="demo") == 2
    assert one(api, "list_servable", list="demo") == 1
    expires = figures(api)["blocklist_list_expiry_timestamp_seconds", (("list", "demo"),)]
    assert expires > api.clock().timestamp()
    assert one(api, "ready") == 1


def test_a_list_that_does_not_verify_is_seen(api: Api) -> None:
    api.repo.damage("feed/metadata/2.demo.json")
    assert one(api, "list_servable", list="demo") == 0
    assert one(api, "list_version", list="demo") is None


def test_a_storage_that_fails_is_counted_and_ends_readiness(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert one(api, "storage_errors_total") == 0

    def down(*args: object, **more: object) -> None:
        raise StoreUnreachable("no answer")

    monkeypatch.setattr(QuickStore, "get", down)
    api.later()
    assert api.get("/v1/lists").status_code == 503
    found = figures(api)
    assert found["blocklist_ready", ()] == 0
    assert found["blocklist_storage_errors_total", ()] >= 1


def test_figures_exist_before_there_is_a_repository(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    from blocklist.api.app import create_app

    client = create_app(QuickStore(tmp_path / "store")).test_client()
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert "blocklist_ready 0.0" in answer.text


def test_refusals_by_the_limits_are_counted(template: Repo) -> None:
    api = Api(template, settings=ApiSettings(requests_per_minute=2))
    assert [api.get("/v1/lists").status_code for _ in range(4)] == [200, 200, 429, 429]
    assert one(api, "rate_limited_total") == 2


def test_diffs_are_counted_from_their_totals(api: Api) -> None:
    api.services.metrics.diffs(computed=3, cached=1)
    api.services.metrics.diffs(computed=4, cached=1)
    assert one(api, "diffs_total", how="computed") == 4
    assert one(api, "diffs_total", how="cached") == 1


def test_redis_is_seen_where_there_is_one(api: Api, template: Repo, own_redis: Redis) -> None:
    assert one(api, "redis_up") is None
    shared = Api(template, shared=SharedState.open(own_redis.url))
    assert one(shared, "redis_up") == 1
    own_redis.stop()
    assert one(shared, "redis_up") == 0


def test_neither_subscriber_nor_token_stands_in_them(api: Api) -> None:
    api.get("/v1/lists/demo/clear/update?from=1")
    text = api.client.get("/metrics").text
    assert "isp" not in text
    assert TOKEN not in text
    assert api.services.tokens is not None
    (digest,) = (path.stem for path in api.repo.file("private/enrolments").iterdir())
    assert digest not in text


def test_labels_do_not_grow_with_what_is_asked_for(api: Api) -> None:
    figures(api)
    before = len(figures(api))
    for number in range(20):
        api.client.open(f"/{number}", method=f"M{number}")
        api.get(f"/v1/lists/n{number}/clear", Authorization=f"Bearer {number}")
    # the counters of two routes, the histograms of two
    assert len(figures(api)) <= before + 2 + 2 * 16


ONE_PROCESS = """
import os, sys
from blocklist.api.metrics import Metrics
metrics = Metrics()
for _ in range(int(sys.argv[1])):
    metrics.answered("/x", "GET", 200, 0.01)
metrics.waiting(2)
metrics.leads(True)
if sys.argv[2] == "tell":
    print(metrics.exposition().decode(), flush=True)
os._exit(0)  # as one that is killed
"""


def test_processes_add_up_and_one_that_ended_keeps_its_counters(tmp_path: Path) -> None:
    from blocklist.api import gunicorn_conf

    env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(Path.cwd())}

    def process(count: int, what: str) -> str:
        argv = [sys.executable, "-c", ONE_PROCESS, str(count), what]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout

    process(3, "die")
    (gauges,) = tmp_path.glob("gauge_livesum_*.db")
    worker = type("Worker", (), {"pid": int(gauges.stem.rpartition("_")[2])})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        gunicorn_conf.child_exit(None, worker)
    text = process(4, "tell")
    assert 'blocklist_requests_total{method="GET",route="/x",status="200"} 7.0' in text
    assert "blocklist_waiting_polls 2.0" in text
    assert "blocklist_leader 1.0" in text
    assert text.count("# TYPE blocklist_requests_total ") == 1
