"""`diff`: three forms, which versions there are, and what is done when a list cannot be rebuilt."""

import json
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Targets
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from blocklist.api.app import create_app
from blocklist.api.diffing import chain, diffs, lately, past
from blocklist.api.diffing import routes as diff_module
from blocklist.api.diffing.diffs import FORMS, Form
from blocklist.api.problems import Problem
from blocklist.core import delta
from blocklist.core.entries import Feed
from blocklist.core.hashing import HashKey
from blocklist.core.private import ListSecret
from blocklist.core.release import LIST
from blocklist.store import layout
from blocklist.store.shared import SharedState, SharedStateDown
from scripts.services.redis import Redis
from signing import commit, names, roles, verify
from signing.roles import Target
from tests.api_repo import KEY, NOW, Api, Repo, assert_problem, content, sha256, until

DIFF = "/v1/lists/demo/clear/diff"
HASHED = "/v1/lists/demo/hashed/diff"
LAST = 9
BURNED = 6


class Chained(Repo):
    """A repository whose releases name the role file before them, as the publisher's do."""

    def _targets(self, name: str, feed: Feed, version: int) -> Iterable[Target]:
        for target in super()._targets(name, feed, version):
            custom = target.custom
            if target.path.endswith(f"/{LIST}") and self.versions[name]:
                before = self.versions[name][-1]
                role = self.file(f"feed/metadata/{before}.{name}.json").read_bytes()
                custom = {**(custom or {}), "prev": {"version": before, "sha256": sha256(role)}}
            yield replace(target, custom=custom)

    def release_by_another_key(self) -> None:
        """Release the next version of `demo`, and name its key alone in the targets role."""
        self.list_signer = CryptoSigner.generate_ed25519()
        head = self.head()
        signed = head.targets.signed
        delegations = signed.delegations
        assert delegations is not None
        assert delegations.roles is not None
        key = self.list_signer.public_key
        delegations.keys = {key.keyid: key}
        delegations.roles["demo"].keyids = [key.keyid]
        signed.version = commit.free_version(self.metadata, names.TARGETS, head.targets.version)
        targets = roles.seal(names.TARGETS, signed, [self.targets_signer])
        version = self.versions["demo"][-1] + 1
        changed = [
            self.role("demo", version, [t for f in Feed for t in self._targets("demo", f, version)])
        ]
        planned = commit.plan(
            self.metadata, head, self.online, NOW, changed=changed, targets=targets
        )
        planned.write(self.metadata)
        self.versions["demo"].append(version)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Chained:
    """`demo` at 1 to 9 without 6; what lies at 6 is signed as well as any release."""
    repo = Chained(tmp_path_factory.mktemp("template") / "store")
    repo.releases(BURNED - 1)
    leftover = repo.role("demo", BURNED, ())
    repo.release(to=BURNED + 1)
    assert repo.metadata.put_new(f"{BURNED}.demo.json", leftover.data)
    repo.releases(LAST - BURNED - 1)
    secret = ListSecret("demo", "test.example", (KEY,))
    assert repo.store.put_new(layout.list_secret_key("demo"), secret.to_bytes())
    return repo


@pytest.fixture
def repo(template: Chained, tmp_path: Path) -> Chained:
    copied = template.copy(tmp_path / "store")
    assert isinstance(copied, Chained)
    return copied


@pytest.fixture
def api(repo: Chained) -> Api:
    return Api(repo)


def lines(versions: Iterable[int]) -> list[str]:
    return sorted(f"h v{number}.example" for number in versions)


def digest_of(version: int, feed: Feed = Feed.CLEAR) -> str:
    return sha256(content(feed, version))


def forget_lists(repo: Repo, *versions: int) -> None:
    """Remove the stored lists of both feeds, as `gc` does with superseded ones."""
    for version in versions:
        for feed in Feed:
            path = layout.target_path("demo", feed, LIST)
            repo.file(layout.target_key(path, digest_of(version, feed))).unlink()


def assert_to_the_snapshot(answer: Any) -> None:
    assert answer.status_code == 303
    assert answer.headers["Location"] == "snapshot"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ETag" not in answer.headers
    assert answer.data == b""


# -- forms -----------------------------------------------------------------------------------------


def test_json_says_what_comes_and_goes(api: Api) -> None:
    answer = api.get(f"{DIFF}?from=2&to=4")
    assert answer.content_type == "application/json"
    assert answer.get_json() == {
        "list": "demo",
        "feed": "clear",
        "from": 2,
        "to": 4,
        "add": lines([3, 4]),
        "remove": [],
    }


def test_text_has_removals_and_then_additions_sorted(api: Api) -> None:
    answer = api.get(f"{DIFF}?from=2&to=4", Accept="text/plain")
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.text == "+ h v3.example\n+ h v4.example\n"
    wanted = diffs.Wanted("demo", Feed.CLEAR, Form.TEXT, 1, 2)
    turned = diffs.render(wanted, b"h a.example\nu b.example/\n", b"d a.example\nu b.example/\n")
    assert turned == b"- h a.example\n+ d a.example\n"


@pytest.mark.parametrize("feed", Feed)
@pytest.mark.parametrize(("start", "end"), [(1, 2), (2, 9), (5, 7), (1, 9), (4, 4)])
def test_binary_leads_from_one_list_to_the_other(
    api: Api, feed: Feed, start: int, end: int
) -> None:
    url = f"/v1/lists/demo/{feed}/diff?from={start}&to={end}"
    answer = api.get(url, Accept="application/octet-stream")
    assert answer.content_type == "application/octet-stream"
    held = content(feed, start)
    assert delta.apply(feed, held, answer.data, max_bytes=1 << 20) == content(feed, end)


def test_the_default_is_json_on_clear_and_binary_on_hashed(api: Api) -> None:
    for accept in ({}, {"Accept": "*/*"}):
        assert api.get(f"{DIFF}?from=1", **accept).content_type == "application/json"
        hashed = api.get(f"{HASHED}?from=1", **accept)
        assert hashed.content_type == "application/octet-stream"


@pytest.mark.parametrize("accept", ["application/json", "text/plain", "text/*", "*/*;q=0", "x"])
def test_there_is_no_other_form_of_the_hashed_feed(api: Api, accept: str) -> None:
    assert_problem(api.get(f"{HASHED}?from=1", Accept=accept), 406, "not-acceptable")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("application/json", Form.JSON),
        ("text/plain", Form.TEXT),
        ("text/plain; charset=utf-8", Form.TEXT),
        ("TEXT/Plain", Form.TEXT),
        ("text/*", Form.TEXT),
        ("application/*", Form.JSON),
        ("application/octet-stream", Form.BINARY),
        ("application/json;q=0, */*", Form.TEXT),
        ("application/*;q=0, */*", Form.TEXT),
        ("application/json;q=0.5, text/plain;q=0.9", Form.TEXT),
        ("text/plain;q=0.5, */*;q=0.6", Form.JSON),
        ("image/png, text/plain;q=0.1", Form.TEXT),
        ("application/problem+json, application/json", Form.JSON),
    ],
)
def test_the_form_that_is_liked_most_is_taken(accept: str, form: Form) -> None:
    parsed = parse_accept_header(accept, MIMEAccept)
    assert diff_module.negotiate(parsed, FORMS[Feed.CLEAR]) is form


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "*/*;q=0", "json", ","])
def test_what_is_not_liked_is_not_sent(accept: str) -> None:
    parsed = parse_accept_header(accept, MIMEAccept)
    if not parsed:
        parsed = MIMEAccept([(accept, 1)])
    with pytest.raises(Problem) as raised:
        diff_module.negotiate(parsed, FORMS[Feed.HASHED])
    assert raised.value.kind.slug == "not-acceptable"


def test_an_accept_that_is_too_long_is_ignored(api: Api) -> None:
    for accept, found in (("x/y," * 100, 406), ("x/y," * 300, 200)):
        assert api.get(f"{DIFF}?from=1", Accept=f"{accept}image/png").status_code == found
    headers = [*api.headers.items(), *[("Accept", "image/png, " * 30)] * 10]
    answer = api.client.get(f"{DIFF}?from=1", headers=headers)
    assert answer.content_type == "application/json"


# -- versions --------------------------------------------------------------------------------------


def test_without_to_it_is_the_live_version(api: Api) -> None:
    answer = api.get(f"{DIFF}?from=7")
    assert answer.get_json()["to"] == LAST
    assert answer.get_json()["add"] == lines([8, 9])
    assert answer.headers["X-Blocklist-Version"] == str(LAST)
    api.repo.release()
    api.later()
    assert api.get(f"{DIFF}?from=7").get_json()["to"] == LAST + 1


def test_from_0_is_the_empty_list(api: Api) -> None:
    assert api.get(f"{DIFF}?from=0&to=3").get_json()["add"] == lines([1, 2, 3])


@pytest.mark.parametrize("feed", Feed)
def test_the_binary_form_from_0_is_the_snapshot(api: Api, feed: Feed) -> None:
    url = f"/v1/lists/demo/{feed}/diff?from=0"
    assert_to_the_snapshot(api.get(url, Accept="application/octet-stream"))


def test_equal_versions_differ_in_nothing(api: Api) -> None:
    answer = api.get(f"{DIFF}?from=4&to=4").get_json()
    assert (answer["add"], answer["remove"]) == ([], [])
    text = api.get(f"{DIFF}?from=4&to=4", Accept="text/plain")
    assert (text.status_code, text.data) == (200, b"")


@pytest.mark.parametrize(
    "query",
    [
        f"from={BURNED}", f"from=1&to={BURNED}", f"from={BURNED}&to={BURNED}",
        f"from={LAST + 1}", f"from=1&to={LAST + 1}", f"from={LAST + 1}&to={LAST + 1}",
        f"from={2**53 - 1}", f"from=0&to={2**53 - 1}", "from=3&to=2", f"from={LAST}&to=1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("url", [DIFF, HASHED])
def test_versions_that_never_were_are_not_found(api: Api, url: str, query: str) -> None:
    assert_problem(api.get(f"{url}?{query}"), 404, "not-found")


@pytest.mark.parametrize(
    "query",
    ["", "to=2", "from=1&to=0", "from=0&to=0", "from=", "from=-1", "from=1.0",
     "from=01", "from=x", "from=1&to=", "from=1&to=x", "from=1&from=2", "from=1&root=1",
     "from=9007199254740992", "from=%D9%A1"],
)  # fmt: skip
def test_malformed_versions_are_refused(api: Api, query: str) -> None:
    assert_problem(api.get(f"{DIFF}?{query}"), 400, "bad-request")


def test_a_list_without_a_release_has_no_diff(tmp_path: Path) -> None:
    api = Api(Repo(tmp_path / "store"))
    assert_problem(api.get(f"{DIFF}?from=0"), 404, "not-released")


def test_a_feed_outside_of_the_scope_is_refused(api: Api) -> None:
    headers = api.repo.enrol(lists={"demo": [Feed.HASHED]})
    assert_problem(api.get(f"{DIFF}?from=1", headers), 403, "outside-scope")
    assert_problem(api.get(f"{DIFF}?from=1", {}), 401, "not-authenticated")


# -- caching ---------------------------------------------------------------------------------------


def test_a_diff_between_two_given_versions_never_changes(api: Api) -> None:
    answer = api.get(f"{DIFF}?from=2&to=4")
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert answer.headers["Vary"] == "Authorization, Accept"
    api.repo.release()
    api.later()
    assert api.get(f"{DIFF}?from=2&to=4").headers["ETag"] == answer.headers["ETag"]


def test_a_diff_to_the_live_version_must_be_asked_about(api: Api) -> None:
    answer = api.get(f"{DIFF}?from=2")
    assert answer.headers["Cache-Control"] == "private, no-cache"
    etag = answer.headers["ETag"]
    held = api.get(f"{DIFF}?from=2", If_None_Match=etag)
    assert (held.status_code, held.data) == (304, b"")
    assert held.headers["ETag"] == etag
    assert held.headers["Vary"] == "Authorization, Accept"
    api.repo.release()
    api.later()
    assert api.get(f"{DIFF}?from=2", If_None_Match=etag).status_code == 200


def test_304_is_answered_without_computing_anything(api: Api) -> None:
    etag = api.get(f"{DIFF}?from=2").headers["ETag"]
    other = Api(api.repo)
    assert other.get(f"{DIFF}?from=2", If_None_Match=etag).status_code == 304
    assert counts(other) == (0, 0)


def test_each_form_feed_and_pair_has_its_own_etag(api: Api) -> None:
    urls = [f"{DIFF}?from={start}&to=5" for start in range(1, 6)]
    found = [api.get(url, Accept=form.value).headers["ETag"] for url in urls for form in Form]
    found += [api.get(f"{HASHED}?from={start}&to=5").headers["ETag"] for start in range(1, 6)]
    assert len(set(found)) == 20


# -- what cannot be rebuilt ------------------------------------------------------------------------


@pytest.mark.parametrize("url", [DIFF, HASHED])
def test_lists_that_are_not_stored_any_more_are_rebuilt(api: Api, url: str) -> None:
    whole = api.get(f"{url}?from=4&to=8").data
    other = Api(api.repo.copy(api.repo.path.parent / "other"))
    forget_lists(other.repo, 4, 8)
    assert other.get(f"{url}?from=4&to=8").data == whole


def test_a_new_list_is_reached_from_the_old_one_without_a_snapshot(api: Api) -> None:
    forget_lists(api.repo, 8)
    api.repo.file(api.repo.snapshot_key(Feed.CLEAR)).unlink()
    assert api.get(f"{DIFF}?from=4&to=8").get_json()["add"] == lines([5, 6, 7, 8])


def test_too_old_is_the_snapshot(api: Api) -> None:
    forget_lists(api.repo, 3, 4)
    api.repo.file(api.repo.snapshot_key(Feed.CLEAR)).unlink()
    assert_to_the_snapshot(api.get(f"{DIFF}?from=4"))
    assert_to_the_snapshot(api.get(f"{DIFF}?from=3&to=4"))
    assert_to_the_snapshot(api.get(f"{DIFF}?from=0&to=4"))


def test_the_snapshot_stands_where_the_answer_points_to(api: Api) -> None:
    answer = api.get(f"{HASHED}?from=0")
    followed = api.get(urljoin(f"{HASHED}?from=0", answer.headers["Location"]))
    assert followed.data == api.get("/v1/lists/demo/hashed/snapshot").data
    assert followed.headers["X-Blocklist-Version"] == "1"


@pytest.mark.parametrize("version", [4, 8])
def test_what_was_altered_is_never_part_of_a_diff(api: Api, version: int) -> None:
    path = layout.target_path("demo", Feed.CLEAR, LIST)
    api.repo.damage(layout.target_key(path, digest_of(version)))
    api.repo.damage(api.repo.snapshot_key(Feed.CLEAR))
    answer = api.get(f"{DIFF}?from=4&to=8")
    if version == 4:
        assert_to_the_snapshot(answer)
    else:  # there is a way from 4 to 8
        assert answer.get_json()["add"] == lines([5, 6, 7, 8])


@pytest.mark.parametrize("feed", Feed)
def test_deltas_that_lead_elsewhere_are_not_believed(api: Api, feed: Feed) -> None:
    """Role files on the way are hints: whoever may write to the storage may name any delta."""
    release = api.services.reader.live().release("demo", feed)
    assert release is not None
    held = content(feed, LAST - 2)
    right, wrong = (delta.encode(feed, held, content(feed, end)) for end in (LAST, LAST - 1))
    assert past.rebuild(release, held, [right]) == content(feed, LAST)
    for deltas in ([wrong], [right, wrong], [b""], [right[:-1]], []):
        assert past.rebuild(release, held, deltas) is None


def test_a_live_list_that_cannot_be_rebuilt_is_not_ready(api: Api) -> None:
    forget_lists(api.repo, LAST)
    for key in (api.repo.snapshot_key(Feed.CLEAR), api.repo.delta_key(8, 9, Feed.CLEAR)):
        api.repo.file(key).unlink()
    answer = api.get(f"{DIFF}?from=7")
    assert_problem(answer, 503, "not-ready")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("start", [3, 4])
def test_a_missing_role_file_ends_what_can_be_told(api: Api, start: int) -> None:
    api.repo.file("feed/metadata/4.demo.json").unlink()
    assert_to_the_snapshot(api.get(f"{DIFF}?from={start}"))


def test_a_role_file_that_nobody_may_sign_is_not_believed(api: Api) -> None:
    """Its list is there, and is what the file says."""
    file = api.repo.file("feed/metadata/4.demo.json")
    signed = verify.parse("demo", file.read_bytes(), Targets).signed
    forged = roles.seal("demo", signed, [CryptoSigner.generate_ed25519()])
    file.write_bytes(forged.data)
    assert_to_the_snapshot(api.get(f"{DIFF}?from=4"))


def test_a_role_file_of_another_version_is_not_believed(api: Api) -> None:
    other = api.repo.file("feed/metadata/3.demo.json").read_bytes()
    api.repo.file("feed/metadata/4.demo.json").write_bytes(other)
    assert_to_the_snapshot(api.get(f"{DIFF}?from=4"))


def test_releases_by_keys_that_were_rotated_away_are_proven_by_history(repo: Chained) -> None:
    repo.release_by_another_key()
    repo.releases(2)
    api = Api(repo)
    for start in (1, 4, 5, 7, 9, 10):
        answer = api.get(f"{DIFF}?from={start}&to=12")
        assert answer.get_json()["add"] == lines(range(start + 1, 13))
    assert_problem(api.get(f"{DIFF}?from={BURNED}"), 404, "not-found")


def test_history_is_a_proof_only_where_it_is_whole(repo: Chained) -> None:
    repo.release_by_another_key()
    repo.releases(2)
    repo.damage("feed/metadata/8.demo.json")
    api = Api(repo)
    assert api.get(f"{DIFF}?from=9").status_code == 200
    for start in (1, 7, 8):
        assert_to_the_snapshot(api.get(f"{DIFF}?from={start}"))


# -- proven once -----------------------------------------------------------------------------------


@pytest.fixture
def rotated(repo: Chained) -> Api:
    """`demo` at 1 to 12 without 6; nothing before 10 is signed by a key that the list has now."""
    repo.release_by_another_key()
    repo.releases(2)
    return Api(repo)


def role_reads(api: Api, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by each role file of `demo` that is read from the storage."""
    read: list[str] = []
    get = api.repo.store.get

    def counted(key: str, **limits: int) -> Any:
        if key.endswith(".demo.json"):
            read.append(key)
        return get(key, **limits)

    monkeypatch.setattr(api.repo.store, "get", counted)
    return read


def test_history_is_read_once_for_all_diffs(rotated: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    read = role_reads(rotated, monkeypatch)
    assert rotated.get(f"{DIFF}?from=1&to=2").status_code == 200
    assert len(read) > 5
    read.clear()
    for url in (f"{DIFF}?from=3&to=5", f"{DIFF}?from=7&to=9", f"{HASHED}?from=2&to=4"):
        assert rotated.get(url).status_code == 200
    assert_problem(rotated.get(f"{DIFF}?from={BURNED}&to=9"), 404, "not-found")
    assert read == []


def test_history_is_read_on_from_where_it_was_left(
    rotated: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rotated.get(f"{DIFF}?from=7&to=9").status_code == 200
    read = role_reads(rotated, monkeypatch)
    assert rotated.get(f"{DIFF}?from=4&to=9").status_code == 200
    assert {int(key.rpartition("/")[2].split(".")[0]) for key in read} == {4, 5}


def test_the_next_release_takes_over_what_was_proven(
    rotated: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rotated.get(f"{DIFF}?from=1&to=2").status_code == 200
    rotated.repo.release()
    rotated.later()
    assert rotated.services.reader.live().roles["demo"].version == 13
    read = role_reads(rotated, monkeypatch)
    assert rotated.get(f"{DIFF}?from=1&to=5").status_code == 200
    assert all(int(key.rpartition("/")[2].split(".")[0]) >= 10 for key in read)


def test_nothing_is_taken_over_when_keys_change(repo: Chained) -> None:
    """What only a key proved may not be believed without it: here 4 to 7 are cut off by 8."""
    repo.release_by_another_key()
    file = repo.file("feed/metadata/8.demo.json")
    whole = file.read_bytes()
    api = Api(repo)
    assert api.get(f"{DIFF}?from=4&to=7").status_code == 200
    file.write_bytes(whole[:-1])
    assert isinstance(api.repo, Chained)
    api.repo.release_by_another_key()
    api.later()
    reader, live = api.services.reader, api.services.reader.live()
    chains = api.services.diffs._chains
    before = chains._chains["demo"]
    assert before.state != chain.state(live, "demo")
    assert chains.of(live, "demo")._proven == {live.roles["demo"].version: before_head(reader)}


def before_head(reader: Any) -> str:
    """Return the digest of the live role file of `demo`."""
    return str(reader.live().roles["demo"].digest)


def test_what_is_not_proven_is_asked_for_again_after_a_while(
    rotated: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rotated.repo.damage("feed/metadata/8.demo.json")
    assert_to_the_snapshot(rotated.get(f"{DIFF}?from=7"))
    read = role_reads(rotated, monkeypatch)
    assert_to_the_snapshot(rotated.get(f"{DIFF}?from=7"))
    assert_to_the_snapshot(rotated.get(f"{DIFF}?from=7", Accept="text/plain"))
    assert read == []
    rotated.repo.file("feed/metadata/8.demo.json").write_bytes(whole)
    monkeypatch.setattr(lately, "REFUSED_SECONDS", 0)
    assert rotated.get(f"{DIFF}?from=7").status_code == 200


def test_what_was_refused_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lately, "_MOST", 2)
    refused = lately.Lately()
    for number in range(3):
        refused.put(number, f"why {number}")
    assert [refused.get(number) for number in range(3)] == [None, "why 1", "why 2"]


def test_what_was_proven_is_remembered_within_bounds(
    rotated: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "_MAX_PROVEN", 3)
    assert rotated.get(f"{DIFF}?from=1&to=2").status_code == 200
    found = rotated.services.diffs._chains._chains["demo"]
    found._proven.pop(1)
    assert rotated.get(f"{DIFF}?from=1&to=3").status_code == 200
    found._proven.pop(9)
    assert rotated.get(f"{DIFF}?from=9&to=9").status_code == 200
    assert 1 not in found._proven  # forgotten, and proven again when somebody asks
    assert rotated.get(f"{DIFF}?from=1&to=4").status_code == 200


def test_the_chain_is_followed_so_far_at_once(
    rotated: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "MAX_CHAIN", 3)
    assert_to_the_snapshot(rotated.get(f"{DIFF}?from=1"))


def test_a_diff_that_cannot_be_made_is_not_tried_at_once_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffs, "MAX_DIFF_BYTES", 20)
    tried = []
    render = diffs.render

    def counted(*args: Any) -> bytes | None:
        tried.append(args)
        return render(*args)

    monkeypatch.setattr(diffs, "render", counted)
    for _ in range(3):
        assert_to_the_snapshot(api.get(f"{DIFF}?from=1"))
    assert len(tried) == 1


def test_naming_takes_a_slot_and_one_reads_for_all(
    rotated: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rotated.get(DIFF.replace("diff", "update")).status_code == 200  # the head is read
    read, go_on = threading.Semaphore(0), threading.Event()
    metadata = rotated.services.reader.metadata

    def slow(name: str, limit: int) -> bytes | None:
        read.release()
        assert go_on.wait(20)
        return metadata(name, limit)

    monkeypatch.setattr(rotated.services.reader, "metadata", slow)
    heavy = rotated.services.diffs._heavy
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(rotated.app.test_client().get, f"{DIFF}?from={start}&to=9",
                               headers=rotated.headers) for start in (1, 2, 3)]  # fmt: skip
        assert read.acquire(timeout=60)
        until("the others wait for a slot", lambda: heavy._waiting == 1)
        with monkeypatch.context() as full:
            full.setattr("blocklist.api.heavy.MAX_WAITING", 1)
            busy = rotated.get(f"{DIFF}?from=4&to=9")
        assert not read.acquire(timeout=0.2)  # the second one waits for what the first one reads
        go_on.set()
        assert [answer.result().status_code for answer in answers] == [200] * 3
    assert_problem(busy, 503, "busy")


def test_there_is_no_diff_across_hash_keys(api: Api) -> None:
    api.repo.rekey(HashKey(b"n" * 32))
    api.repo.release()
    api.later()
    for old, new in ((9, 10), (9, 11), (1, 11)):
        assert_to_the_snapshot(api.get(f"{HASHED}?from={old}&to={new}"))
        assert api.get(f"{DIFF}?from={old}&to={new}").status_code == 200
    for old, new in ((8, 9), (10, 11), (1, 9)):
        assert api.get(f"{HASHED}?from={old}&to={new}").status_code == 200
    for feed in (HASHED, DIFF):
        assert_problem(api.get(f"{feed}?from=12"), 404, "not-found")


def test_what_was_sealed_with_a_former_hash_key_is_computed_again(api: Api) -> None:
    """Rotating the key of a list takes what is shared from whoever has the former one."""
    new = HashKey(b"n" * 32)
    secrets = api.repo.file(layout.list_secret_key("demo"))
    secrets.write_bytes(ListSecret("demo", "test.demo.example", (new, KEY)).to_bytes())
    shelf = Shelf()
    one, two = sharing(api, shelf), sharing(api, shelf)
    old = one.get(f"{DIFF}?from=1&to=9").data
    before = dict(shelf.blobs)
    api.repo.rekey(new)
    two.later()
    assert two.get(f"{DIFF}?from=1&to=9").data == old
    assert counts(two) == (1, 0)
    assert shelf.blobs.keys() == before.keys()
    three = sharing(api, shelf)
    assert three.get(f"{DIFF}?from=1&to=9").data == old
    assert counts(three) == (0, 1)


@pytest.mark.parametrize("limit", ["MAX_DIFF_BYTES", "MAX_LIST_BYTES"])
@pytest.mark.parametrize("accept", list(Form))
def test_what_is_too_much_is_the_snapshot(
    api: Api, monkeypatch: pytest.MonkeyPatch, accept: Form, limit: str
) -> None:
    monkeypatch.setattr(diffs, limit, 20)
    assert_to_the_snapshot(api.get(f"{DIFF}?from=1", Accept=accept.value))


# -- computed once ---------------------------------------------------------------------------------


def counts(api: Api) -> tuple[int, int]:
    return api.services.diffs.computed, api.services.diffs.cached


def slow_down(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Semaphore, threading.Event]:
    """Hold every computation until the event is set; the semaphore counts those that began."""
    began, go_on = threading.Semaphore(0), threading.Event()
    render = diffs.render

    def slow(*args: Any) -> bytes | None:
        began.release()
        assert go_on.wait(60)
        return render(*args)

    monkeypatch.setattr(diffs, "render", slow)
    return began, go_on


def test_a_diff_is_computed_once(api: Api) -> None:
    for _ in range(3):
        api.get(f"{DIFF}?from=1&to=9")
        api.get(f"{DIFF}?from=1")
    assert counts(api) == (1, 5)


def test_a_diff_is_computed_once_for_all_who_ask_at_the_same_time(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = slow_down(monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(api.app.test_client().get, f"{DIFF}?from=1", headers=api.headers)
                   for _ in range(8)]  # fmt: skip
        assert began.acquire(timeout=60)
        go_on.set()
        assert {answer.result().status_code for answer in answers} == {200}
    assert counts(api) == (1, 7)
    assert not began.acquire(blocking=False)


def test_at_most_two_are_computed_at_a_time_and_the_others_wait(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = slow_down(monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        urls = [f"{DIFF}?from={start}" for start in range(1, 5)]
        answers = [pool.submit(api.app.test_client().get, url, headers=api.headers) for url in urls]
        assert began.acquire(timeout=60)
        assert began.acquire(timeout=60)
        assert not began.acquire(timeout=0.2)
        go_on.set()
        assert [answer.result().status_code for answer in answers] == [200] * 4
    assert counts(api) == (4, 0)


@pytest.mark.parametrize(("seconds", "waiting"), [(0.01, 16), (60, 0)], ids=["time", "number"])
def test_who_waits_too_long_or_with_too_many_is_told_to_come_back(
    api: Api, monkeypatch: pytest.MonkeyPatch, seconds: float, waiting: int
) -> None:
    monkeypatch.setattr("blocklist.api.heavy.MAX_WAITING", waiting or 16)
    began, go_on = slow_down(monkeypatch)
    api.services.diffs._heavy._seconds = seconds
    with ThreadPoolExecutor(2) as pool:
        urls = [f"{DIFF}?from={start}" for start in (1, 2)]
        answers = [pool.submit(api.app.test_client().get, url, headers=api.headers) for url in urls]
        assert began.acquire(timeout=60)
        assert began.acquire(timeout=60)
        monkeypatch.setattr("blocklist.api.heavy.MAX_WAITING", waiting)
        answer = api.get(f"{DIFF}?from=3")
        go_on.set()
        assert [answer.result().status_code for answer in answers] == [200] * 2
    assert_problem(answer, 503, "busy")
    assert int(answer.headers["Retry-After"]) > 0
    assert api.get(f"{DIFF}?from=3").status_code == (503 if not waiting else 200)


def test_a_diff_that_failed_is_tried_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(diffs, "render", fail)
        assert_problem(api.get(f"{DIFF}?from=1"), 500, "internal-error")
    assert api.get(f"{DIFF}?from=1").status_code == 200


# -- shared ----------------------------------------------------------------------------------------


class Shelf:
    """What a Redis would hold; may be down."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.down = False

    def get_blob(self, key: str) -> bytes | None:
        self._check()
        return self.blobs.get(key)

    def put_blob(self, key: str, data: bytes, seconds: int) -> None:
        self._check()
        assert seconds > 0
        self.blobs[key] = data

    def _check(self) -> None:
        if self.down:
            raise SharedStateDown("Redis cannot be reached")


def sharing(api: Api, shelf: Shelf) -> Api:
    """Return another process on the same repository that shares diffs on `shelf`."""
    other = Api(api.repo)
    other.services.diffs._sealed._blobs = shelf
    return other


@pytest.mark.parametrize("url", [DIFF, HASHED])
def test_a_diff_is_computed_once_for_all_processes(api: Api, url: str) -> None:
    shelf = Shelf()
    one, two = sharing(api, shelf), sharing(api, shelf)
    assert one.get(f"{url}?from=1").data == two.get(f"{url}?from=1").data
    assert (counts(one), counts(two)) == ((1, 0), (0, 1))


def test_what_is_shared_can_be_read_by_nobody_else(api: Api) -> None:
    shelf = Shelf()
    answer = sharing(api, shelf).get(f"{DIFF}?from=1")
    ((name, blob),) = shelf.blobs.items()
    assert name == answer.headers["ETag"].strip('"')
    assert b"example" not in blob
    assert b"add" not in blob
    sharing(api, again := Shelf()).get(f"{DIFF}?from=1")
    assert again.blobs[name] != blob  # another nonce


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "swap", "forge"])
def test_what_was_altered_where_it_is_shared_is_computed_again(api: Api, damage: str) -> None:
    shelf = Shelf()
    one, two = sharing(api, shelf), sharing(api, shelf)
    whole = one.get(f"{DIFF}?from=1").data
    one.get(f"{DIFF}?from=2")
    first, second = shelf.blobs
    blob = shelf.blobs[first]
    shelf.blobs[first] = {
        "cut": blob[:-1],
        "flip": blob[:20] + bytes([blob[20] ^ 1]) + blob[21:],
        "empty": b"",
        "swap": shelf.blobs[second],
        "forge": whole,
    }[damage]
    assert two.get(f"{DIFF}?from=1").data == whole
    assert counts(two) == (1, 0)


def test_without_redis_every_process_computes(api: Api) -> None:
    shelf = Shelf()
    shelf.down = True
    one = sharing(api, shelf)
    assert one.get(f"{DIFF}?from=1").status_code == 200
    shelf.down = False
    assert one.get(f"{DIFF}?from=2").status_code == 200
    assert len(shelf.blobs) == 1


def test_without_the_secrets_of_the_list_nothing_is_shared(api: Api) -> None:
    api.repo.file(layout.list_secret_key("demo")).write_bytes(b"{}")
    shelf = Shelf()
    assert sharing(api, shelf).get(f"{DIFF}?from=1").status_code == 200
    assert shelf.blobs == {}


def test_a_diff_is_shared_through_a_real_redis(repo: Chained, redis_server: Redis) -> None:
    headers = repo.enrol()
    states = [SharedState.open(redis_server.url) for _ in range(2)]
    apps = [create_app(repo.store, shared=state) for state in states]
    got = [app.test_client().get(f"{DIFF}?from=1", headers=headers).data for app in apps]
    for state in states:
        state.close()
    assert got[0] == got[1]
    assert json.loads(got[0])["add"] == lines(range(2, 10))
    diffs_of = [app.extensions["blocklist"].diffs for app in apps]
    assert [(one.computed, one.cached) for one in diffs_of] == [(1, 0), (0, 1)]
