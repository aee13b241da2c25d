"""A stock TUF client: `tuf.ngclient` alone, over a static HTTP server, needs nothing of ours."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.ngclient import Updater

from blocklist.core.entries import Feed
from blocklist.publisher import upkeep
from blocklist.store import layout
from tests.fakes import Fault, FaultyStore, SimulatedCrash, fault_on
from tests.publisher_kit import LIST, Kit, urls, without_sync


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - theirs
        pass


class Stock:
    """A client that knows the pinned root, one base URL, and TUF."""

    def __init__(self, folder: Path, url: str, root: bytes) -> None:
        self.folder, self.url, self.root = folder, url, root
        (folder / "targets").mkdir(parents=True)

    def updater(self) -> Updater:
        return Updater(
            str(self.folder / "metadata"),
            f"{self.url}/metadata/",
            str(self.folder / "targets"),
            f"{self.url}/targets/",
            bootstrap=self.root,
        )

    def download(self, path: str) -> bytes:
        updater = self.updater()
        found = updater.get_targetinfo(path)
        assert found is not None, path
        return Path(updater.download_target(found)).read_bytes()


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    kit = Kit.made(tmp_path / "kit", directory=True)
    kit.publish(urls(range(50)))
    return kit


@pytest.fixture
def url(kit: Kit) -> Iterator[str]:
    """Serve the feed folder, and nothing else, on loopback."""
    handler = functools.partial(Quiet, directory=str(kit.folder / "store" / layout.FEED))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.fixture
def stock(kit: Kit, url: str, tmp_path: Path) -> Stock:
    return Stock(tmp_path / "stock", url, kit.root())


def expect_both_lists(kit: Kit, stock: Stock, version: int, name: str = LIST) -> None:
    archive = kit.archive(name)
    for feed in Feed:
        assert stock.download(f"{name}/{feed}/list") == archive.content(feed, version)


def test_both_lists_are_downloaded_byte_for_byte(kit: Kit, stock: Stock) -> None:
    expect_both_lists(kit, stock, 1)


def test_new_versions_are_followed_with_the_same_state(kit: Kit, stock: Stock) -> None:
    for version in (2, 3, 4):
        kit.publish(add=f"more-{version}.example/", remove=urls(range(version, version + 1)))
        expect_both_lists(kit, stock, version)


def test_every_target_is_there_by_the_default_naming(kit: Kit, stock: Stock) -> None:
    """The digest stands before the name: `prefix_targets_with_hash`, the library's default."""
    kit.publish(add="more.example/")
    assert stock.updater().config.prefix_targets_with_hash
    archive = kit.archive()
    paths = list(archive.role(2).signed.targets)
    assert len(paths) == 6
    for path in paths:
        blob = archive.role(2).signed.targets[path]
        assert len(stock.download(path)) == blob.length


def test_burned_numbers_are_followed(kit: Kit, stock: Stock) -> None:
    stock.download(f"{LIST}/clear/list")
    crash = FaultyStore(kit.store, fault_on(layout.TIMESTAMP, Fault.CRASH_BEFORE))
    with pytest.raises(SimulatedCrash):
        kit.publish(add="never.example/", store=crash)
    assert kit.store.put_new(f"{layout.METADATA}3.demo.json", b"left by a vandal")
    assert kit.publish(add="more.example/").version == 4
    assert kit.head().snapshot.version == 5  # 4 was burned too
    expect_both_lists(kit, stock, 4)


def test_a_renewed_version_and_a_refresh_are_followed(
    tmp_path: Path, kit: Kit, stock: Stock
) -> None:
    before = stock.download(f"{LIST}/hashed/list")
    kit.clock.tick(days=50)
    assert kit.publish(urls(range(50))).version == 2
    kit.clock.tick(days=4)
    upkeep.refresh(kit.repository())
    assert stock.download(f"{LIST}/hashed/list") == before
    assert (stock.folder / "metadata" / "demo.json").read_bytes() == kit.metadata("2.demo.json")


def test_a_second_list_is_found_through_its_own_delegation(kit: Kit, stock: Stock) -> None:
    kit.create("other")
    kit.publish("a.example/x", name="other")
    expect_both_lists(kit, stock, 1, "other")
    expect_both_lists(kit, stock, 1)


def test_what_nobody_signed_is_not_there(kit: Kit, stock: Stock) -> None:
    kit.create("unreleased")
    assert stock.updater().get_targetinfo("demo/clear/nosuch") is None
    assert stock.updater().get_targetinfo("nosuch/clear/list") is None
    with pytest.raises(RepositoryError, match="not part of snapshot"):
        stock.updater().get_targetinfo("unreleased/clear/list")


def test_an_altered_list_is_refused(kit: Kit, stock: Stock) -> None:
    blob = kit.archive().release(Feed.CLEAR, 1).content
    path = kit.folder / "store" / layout.target_key(f"{LIST}/clear/list", blob.sha256)
    path.write_bytes(path.read_bytes().replace(b"site-0001", b"site-9999"))
    with pytest.raises(RepositoryError):
        stock.download(f"{LIST}/clear/list")


def test_an_altered_role_is_refused(kit: Kit, stock: Stock) -> None:
    path = kit.folder / "store" / layout.METADATA / "1.demo.json"
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(RepositoryError):
        stock.download(f"{LIST}/clear/list")


def test_the_private_side_is_not_in_the_served_folder(kit: Kit, stock: Stock) -> None:
    served = kit.folder / "store" / layout.FEED
    assert {path.name for path in served.iterdir()} == {"metadata", "targets"}
    with pytest.raises(DownloadError):
        stock.updater()._fetcher.download_bytes(f"{stock.url}/../private/lists/demo.json", 9**9)
