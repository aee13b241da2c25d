"""The API over a storage from which `gc` has taken old objects: kept versions go on as ever."""

from typing import Any

import pytest

from blocklist.api import app as apps
from blocklist.core.enrolment import SourceUrl
from blocklist.core.entries import Feed
from blocklist.core.update import Update
from blocklist.publisher import subscribers
from blocklist.publisher.keeping import gc
from tests.keep_kit import aged, later
from tests.publisher_kit import LIST, Kit, without_sync

RELEASES, KEPT = 40, 8
OLDEST = RELEASES - KEPT + 1


@pytest.fixture(scope="module", name="api")
def _api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        folder = tmp_path_factory.mktemp("collected")
        kit: Kit = aged(folder, RELEASES, keep_versions=KEPT, keep_days=0)
        later(kit, days=2.1)
        gc.collect(kit.repository())
        added = subscribers.add_subscriber(
            kit.repository(), "isp", [LIST], [*Feed], [SourceUrl("https://api.example")]
        )
    app = apps.create_app(kit.store, clock=kit.clock)
    headers = {"Authorization": f"Bearer {added.enrolment.token}"}

    def get(path: str, **more: str) -> Any:
        return app.test_client().get(f"/v1/lists/{LIST}/{path}", headers={**headers, **more})

    return get


def parts(answer: Any) -> set[str]:
    """Return the kinds of objects in an update."""
    assert answer.status_code == 200
    names = [name.partition(".")[2] for name in Update.from_bytes(answer.data).objects]
    return {name.partition("-")[0] for name in names}


@pytest.mark.parametrize("feed", Feed)
@pytest.mark.parametrize("held", [OLDEST, OLDEST + 1, RELEASES - 1])
def test_a_kept_version_is_led_on_by_deltas(api: Any, feed: Feed, held: int) -> None:
    assert parts(api(f"{feed}/update?from={held}")) == {"delta"}


@pytest.mark.parametrize("feed", Feed)
@pytest.mark.parametrize("held", [1, 5, 16])
def test_a_collected_version_gets_the_snapshot(api: Any, feed: Feed, held: int) -> None:
    assert "snapshot" in parts(api(f"{feed}/update?from={held}"))


def test_a_diff_of_kept_versions_is_made(api: Any) -> None:
    answer = api(f"clear/diff?from={OLDEST}", Accept="application/json")
    assert answer.status_code == 200
    assert len(answer.json["add"]) == KEPT - 1


@pytest.mark.parametrize("held", [1, 5, 16])
def test_a_diff_of_a_collected_version_leads_to_the_snapshot(api: Any, held: int) -> None:
    answer = api(f"clear/diff?from={held}", Accept="application/json")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "snapshot"  # beside it
    assert api("clear/snapshot").status_code == 200
