"""Publishers that race on a real S3 server: every change is in exactly one release, none is lost.

Four homes, as on four machines: two change one list, one changes another, one re-signs all the
while. 200 releases over TLS.
"""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from blocklist.core.entries import Feed
from blocklist.publisher.records import Record
from blocklist.store.open import open_store
from blocklist.store.port import Store
from tests.cli_kit import HOME, World
from tests.forks import Forks
from tests.services import S3Server, used

RELEASES = {"first": ("demo", 70), "second": ("demo", 70), "other": ("other", 60)}
REFRESHER = "refresher"


@dataclass(frozen=True)
class Race:
    """How it went: the storage, and what each loop was told."""

    world: World
    store: Store
    told: dict[str, list[int]]
    refreshed: int


@pytest.fixture(scope="module", name="race")
def _race(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Race]:
    folder = tmp_path_factory.mktemp("race")
    url = s3_server.url(s3_server.new_bucket(), "https", "hotline")
    world = World(folder, {"BLOCKLIST_STORAGE": url, **s3_server.environment})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        world.done("init", "--dev")
        for name in ("demo", "other"):
            world.done("list", "create", name)
            world.done("publish", name, "--add", "-", given="always.example/\n")
        yield _run(world, open_store(url))


def _run(world: World, store: Store) -> Race:
    ended = threading.Event()
    with ThreadPoolExecutor(len(RELEASES) + 1) as pool:
        refreshed = pool.submit(_refresh, _machine(world, REFRESHER), ended)
        loops = {
            name: pool.submit(_publish, _machine(world, name), name, list_name, count)
            for name, (list_name, count) in RELEASES.items()
        }
        try:
            told = {name: loop.result() for name, loop in loops.items()}
        finally:
            ended.set()
        return Race(world, store, told, refreshed.result())


def _machine(world: World, name: str) -> World:
    """Return the world as seen from another machine, with a home of its own."""
    shutil.copytree(world.folder / HOME, world.folder / name)
    return World(world.folder, world.environment | {"BLOCKLIST_HOME": name})


def _publish(world: World, name: str, list_name: str, count: int) -> list[int]:
    """Add an entry each time, and remove the passing one of the time before; return versions."""
    versions = []
    with Forks() as forks:
        for number in range(count):
            entries = f"{name}-{number}.example/kept\n{name}-{number}.example/passing\n"
            gone = f"{name}-{number - 1}.example/passing\n" if number else ""
            file = world.file(f"{name}-gone.txt", gone)
            words = ("publish", list_name, "--add", "-", *(("--remove", file) if number else ()))
            done = world.done(*words, given=entries, by=forks)
            assert not done["unchanged"]
            assert (done["added"], done["removed"]) == (2, 1 if number else 0)
            versions.append(done["version"])
    return versions


def _refresh(world: World, ended: threading.Event) -> int:
    count = 0
    with Forks() as forks:
        while not ended.wait(2):
            world.done("refresh", by=forks)
            count += 1
    return count


def _records(race: Race, list_name: str) -> dict[int, Record]:
    """Return the record of each release, as signed metadata names it."""
    found = {}
    for row in race.world.done("log", list_name):
        role = race.store.get(f"feed/metadata/{row['version']}.{list_name}.json")
        assert role is not None
        target = json.loads(role.data)["signed"]["targets"][f"{list_name}/clear/list"]
        stored = race.store.get(f"private/records/{list_name}/{target['custom']['record']}.json.gz")
        assert stored is not None
        found[row["version"]] = Record.from_bytes(stored.data)
    return found


def _names(list_name: str) -> list[str]:
    return [name for name, (where, _) in RELEASES.items() if where == list_name]


@pytest.mark.parametrize("list_name", ["demo", "other"])
def test_every_change_is_in_the_list_and_in_one_record(
    race: Race, request: pytest.FixtureRequest, list_name: str
) -> None:
    used(request, "S3 over TLS")
    records = _records(race, list_name)
    added = Counter(line for record in records.values() for line in record.added)
    removed = Counter(line for record in records.values() for line in record.removed)
    for name in _names(list_name):
        count = RELEASES[name][1]
        for number, version in enumerate(race.told[name]):
            host = f"{name}-{number}.example"
            assert added[f"u {host}/kept"] == added[f"u {host}/passing"] == 1
            assert f"u {host}/kept" in records[version].added
            assert removed[f"u {host}/passing"] == (1 if number < count - 1 else 0)
    kept = {line for line in added if line not in removed}
    assert kept == set(_final(race, list_name))


def _final(race: Race, list_name: str) -> list[str]:
    newest = race.world.done("log", list_name)[0]["version"]
    role = race.store.get(f"feed/metadata/{newest}.{list_name}.json")
    assert role is not None
    target = json.loads(role.data)["signed"]["targets"][f"{list_name}/{Feed.CLEAR.value}/list"]
    stored = race.store.get(f"feed/targets/{list_name}/clear/{target['hashes']['sha256']}.list")
    assert stored is not None
    return stored.data.decode().splitlines()


def test_versions_are_told_once_and_rise(race: Race) -> None:
    for name, versions in race.told.items():
        assert versions == sorted(set(versions)), name
    assert not set(race.told["first"]) & set(race.told["second"])
    assert race.refreshed > 0


def test_the_storage_verifies_from_root_to_digests(
    race: Race, request: pytest.FixtureRequest
) -> None:
    used(request, "S3 over TLS")
    assert race.world.done("fsck")["checked"]
