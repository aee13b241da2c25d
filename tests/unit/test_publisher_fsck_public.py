"""fsck --public: every way in which a stranger could read what he may not is found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from blocklist.core.errors import TransportError
from blocklist.publisher import public
from blocklist.publisher.public import Outside, Sample, look, samples
from blocklist.store import layout
from tests.publisher_kit import Kit, urls, without_sync

HOST = "https://feed.example"
Site = Callable[[str], bytes | None]


@pytest.fixture(name="objects", scope="module")
def _objects(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], list[Sample]]:
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        kit = Kit.made(tmp_path_factory.mktemp("public"))
        kit.create("other")
        kit.create("unreleased")
        kit.publish(urls(range(50)))
        kit.publish(add=urls(range(60, 65)))
        kit.publish("a.example/x", name="other")
        kit.memory.plant(layout.enrolment_key("0" * 64), b"an enrolment")
        return kit.objects(), samples(kit.repository())


@pytest.fixture(name="site")
def _site(objects: tuple[dict[str, bytes], list[Sample]]) -> "Sites":
    return Sites(*objects)


class Sites:
    """What a stranger meets, from right to wrong."""

    def __init__(self, objects: dict[str, bytes], sample: list[Sample]) -> None:
        self.objects = objects
        self.sample = sample

    def bucket(self, *open_: str, at: str = "") -> Site:
        """Serve the objects whose key begins so."""
        return self.folder("", *open_, at=at)

    def folder(self, top: str, *open_: str, at: str = "") -> Site:
        """Serve a folder of the storage, below `at`."""

        def ask(path: str) -> bytes | None:
            assert not path.startswith("/")
            key = top + path.removeprefix(at)
            served = path.startswith(at) and key.startswith(open_)
            return self.objects.get(key) if served else None

        return ask

    def seen(self, ask: Site, url: str = HOST) -> Outside:
        return look(url, self.sample, ask)


FEED_OPEN = ("feed/metadata/", "feed/targets/demo/hashed/", "feed/targets/other/hashed/")
GOOD = {
    public.METADATA: True,
    public.HASHED: True,
    public.CLEAR: False,
    public.PRIVATE: False,
    public.LISTINGS: False,
}


def test_the_sample_has_every_sort(site: Sites) -> None:
    keys = [one.key for one in site.sample]
    for name in ("demo", "other"):
        for feed in ("clear", "hashed"):
            found = [k.rpartition(".")[2] for k in keys if f"/{name}/{feed}/" in k]
            assert {"list", "snapshot"} <= set(found)
    assert any(key.endswith(".delta-1") for key in keys)
    assert {k.split("/")[1] for k in keys if k.startswith("private/")} == {
        "records",
        "lists",
        "enrolments",
        "releases",
    }
    for one in site.sample:
        assert one.data == site.objects[one.key][: public.GLANCE_BYTES]


def test_nothing_stored_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)
    found = look(HOST, samples(Kit.made(tmp_path).repository()), lambda path: None)
    assert found.readable[public.CLEAR] is None
    assert found.readable[public.PRIVATE] is False


@pytest.mark.parametrize("base", ["", "lists", "a/b/c"])
def test_what_may_be_public_is_no_problem(site: Sites, base: str) -> None:
    at = f"{base}/" if base else ""
    for ask in (
        site.bucket(*FEED_OPEN, at=at),
        site.folder("feed/", *FEED_OPEN, at=at),
        site.folder("feed/", *FEED_OPEN, at=f"{at}v1/"),
    ):
        found = site.seen(ask, f"{HOST}/{base}")
        assert (found.problems, found.readable) == ((), GOOD)
        assert found.asked < 200


def test_a_wall_is_no_problem(site: Sites) -> None:
    found = site.seen(lambda path: None)
    assert found.problems == ()
    assert not any(found.readable.values())


def test_a_page_for_visitors_is_no_leak(site: Sites) -> None:
    found = site.seen(lambda path: b"<html><title>Welcome</title></html>")
    assert (found.problems, any(found.readable.values())) == ((), False)


@pytest.mark.parametrize(
    ("opened", "kind"),
    [
        ("feed/targets/demo/clear/", public.CLEAR),
        ("feed/targets/other/clear/", public.CLEAR),
        ("private/records/", public.PRIVATE),
        ("private/lists/", public.PRIVATE),
        ("private/enrolments/", public.PRIVATE),
    ],
)
@pytest.mark.parametrize("base", ["", "bucket", "bucket/lists"])
def test_each_folder_that_may_not_be_open(site: Sites, opened: str, kind: str, base: str) -> None:
    ask = site.bucket(*FEED_OPEN, opened, at=f"{base}/" if base else "")
    found = site.seen(ask, f"{HOST}/{base}/")
    assert found.readable == {**GOOD, kind: True}
    assert found.problems
    shown = opened.rstrip("/")
    assert all(kind in problem and shown in problem for problem in found.problems)
    assert not any("0" * 64 in problem for problem in found.problems)


@pytest.mark.parametrize("at", ["", "v1/", "feed/"])
def test_clear_targets_of_a_web_server(site: Sites, at: str) -> None:
    found = site.seen(site.folder("feed/", *FEED_OPEN, "feed/targets/demo/clear/", at=at))
    assert found.readable == {**GOOD, public.CLEAR: True}


@pytest.mark.parametrize(
    ("url", "at"),
    [
        (f"{HOST}/feed", "private/"),  # the folder beside the one that is meant
        (f"{HOST}/x/feed", "x/private/"),
        (f"{HOST}/feed", "feed../private/"),  # `location /feed` with an alias that ends in a slash
        (HOST, "feed../private/"),
    ],
)
def test_what_lies_beside_the_folder(site: Sites, url: str, at: str) -> None:
    found = site.seen(site.folder("private/", "private/", at=at), url)
    assert found.readable[public.PRIVATE] is True


S3_LISTING = b'<?xml version="1.0"?><ListBucketResult xmlns="x"><Name>b</Name></ListBucketResult>'
S3_POLICY = b'{"Version": "2012-10-17", "Statement": []}'
S3_ACL = b"<?xml version='1.0'?><AccessControlPolicy></AccessControlPolicy>"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", S3_LISTING),
        ("?list-type=2", S3_LISTING),
        ("bucket/?list-type=2", S3_LISTING),
        ("bucket/?list-type=2&prefix=lists%2Fprivate%2F", S3_LISTING),
        ("bucket/lists/?prefix=private%2F", S3_LISTING),
        ("bucket/?prefix=lists%2Ffeed%2Ftargets%2F", S3_LISTING),
        ("bucket/?versions", b"<ListVersionsResult></ListVersionsResult>"),
        ("bucket/?uploads", b"<ListMultipartUploadsResult/>"),
        ("bucket/?acl", S3_ACL),
        ("bucket/?policy", S3_POLICY),
        ("bucket/lists/feed/metadata/1.root.json?acl", S3_ACL),
        ("bucket/lists/feed/", b"<html><head><title>Index of /feed/</title></head>"),
        ("bucket/lists/", b'<a href="private/">private/</a>'),
        ("bucket/lists/targets/demo/clear/", b"<html><title>Index of /targets</title>"),
    ],
)
def test_each_listing(site: Sites, path: str, body: bytes) -> None:
    ask = lambda asked: body if asked == path else None  # noqa: E731 - one line, one use
    found = site.seen(ask, f"{HOST}/bucket/lists")
    assert found.readable[public.LISTINGS] is True
    (problem,) = found.problems
    assert f"/{path} " in problem


def test_a_listing_is_known_by_the_names_in_it(site: Sites) -> None:
    """Whatever shape a web server gives it."""
    name = next(one.key for one in site.sample if "/clear/" in one.key).rpartition("/")[2]
    page = f'[{{"name": "{name}", "type": "file"}}]'.encode()
    asked = lambda path: page if path == "targets/demo/clear/" else None  # noqa: E731 - as above
    assert site.seen(asked).readable[public.LISTINGS] is True


def test_a_large_object_is_known_by_its_beginning(site: Sites) -> None:
    large = Sample(public.CLEAR, "feed/targets/demo/clear/x", b"x" * public.GLANCE_BYTES)
    found = look(HOST, [large], lambda path: b"x" * (public.GLANCE_BYTES + 1))
    assert found.readable[public.CLEAR] is True


def test_without_an_answer_nothing_is_proven(site: Sites) -> None:
    def ask(path: str) -> bytes | None:
        raise TransportError("expected an answer, got 502")

    with pytest.raises(TransportError):
        site.seen(ask)


def test_statuses_that_say_no() -> None:
    assert {401, 403, 404, 405, 410} <= public.REFUSALS
    assert public.REFUSALS.isdisjoint({200, 206, 301, 429, 500, 502, 503})
