"""Who may read what, for how long, and that a token never stands in a URL."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from blocklist.api.settings import ApiSettings
from blocklist.core.entries import Feed
from blocklist.core.errors import StoreUnreachable
from blocklist.store import layout
from tests.api_repo import NOW, TOKEN, Api, QuickStore, Repo, assert_problem, sha256

ROUTES = [
    "/v1/lists",
    "/v1/lists/demo/clear",
    "/v1/lists/demo/clear/update",
    "/v1/lists/demo/clear/snapshot",
    "/v1/lists/demo/clear/diff?from=1",
    "/v1/enrolment",
    "/v1/subscribers",
    "/v1/metadata/timestamp.json",
    "/v1/metadata/1.demo.json",
    f"/v1/targets/demo/clear/{'0' * 64}.list",
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    repo.release()
    return repo


@pytest.fixture
def api(template: Repo, tmp_path: Path) -> Api:
    return Api(template.copy(tmp_path / "store"))


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_needs_a_token(api: Api, path: str) -> None:
    answer = api.get(path, headers={})
    assert_problem(answer, 401, "not-authenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="blocklist"'


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_refuses_an_unknown_token(api: Api, path: str) -> None:
    answer = api.get(path, headers={"Authorization": "Bearer of-bad-news"})
    assert_problem(answer, 401, "not-authenticated")
    assert "invalid_token" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_token(api: Api, path: str) -> None:
    assert api.get(path, headers={}).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        "", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Token {TOKEN}", f"Bearer {TOKEN} x",
        f"Bearer {TOKEN}, Bearer {TOKEN}", f"Bearer\t{TOKEN}", f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}=", f"Bearer {sha256(TOKEN.encode())}", "Bearer " + "a" * 5000,
        "Bearer ../../lists/demo", "Bearer \u00e9", "Bearer \u0661",
    ],
)  # fmt: skip
def test_another_header_than_a_bearer_token_is_refused(api: Api, value: str) -> None:
    answer = api.get("/v1/lists", headers={"Authorization": value})
    assert_problem(answer, 401, "not-authenticated")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_the_scheme_is_read_in_any_case(api: Api, scheme: str) -> None:
    answer = api.get("/v1/lists", headers={"Authorization": f"{scheme} {TOKEN}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["token", "access_token", "Authorization", "TOKEN", "api_key"])
@pytest.mark.parametrize("path", ["/v1/lists", "/v1/lists/demo/clear/update", "/healthz", "/nope"])
def test_a_token_in_the_query_is_refused_even_with_a_good_one_in_the_header(
    api: Api, path: str, name: str
) -> None:
    answer = api.get(f"{path}?{name}={TOKEN}")
    assert_problem(answer, 400, "token-in-query")
    assert TOKEN.encode() not in answer.data


# -- scopes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/update", "/snapshot"])
@pytest.mark.parametrize(("list_name", "feed"), [("demo", "clear"), ("none", "hashed")])
def test_outside_the_scope_is_refused_whether_it_exists_or_not(
    api: Api, list_name: str, feed: str, path: str
) -> None:
    headers = api.repo.enrol(lists={"demo": [Feed.HASHED]})
    answer = api.get(f"/v1/lists/{list_name}/{feed}{path}", headers)
    assert_problem(answer, 403, "outside-scope")
    assert api.get(f"/v1/lists/demo/hashed{path}", headers).status_code == 200


def test_an_empty_scope_reads_top_level_metadata_only(api: Api) -> None:
    headers = api.repo.enrol(lists={"demo": []})
    assert_problem(api.get("/v1/metadata/1.demo.json", headers), 403, "outside-scope")
    assert api.get("/v1/metadata/1.root.json", headers).status_code == 200
    assert api.get("/v1/lists", headers).json == {"lists": []}


# -- expiry and revocation -----------------------------------------------------------------------


def test_a_token_ends_at_its_expiry_even_when_it_is_remembered(api: Api) -> None:
    headers = api.repo.enrol("expiring-token", expires=NOW + timedelta(seconds=10))
    api.clock.tick(9)
    assert api.get("/v1/lists", headers).status_code == 200
    api.clock.tick(1)
    assert_problem(api.get("/v1/lists", headers), 401, "not-authenticated")


def test_a_token_that_was_revoked_before_its_first_use_is_refused(api: Api) -> None:
    headers = api.repo.enrol("revoked-token", revoked=NOW)
    assert_problem(api.get("/v1/lists", headers), 401, "not-authenticated")


@pytest.mark.parametrize(
    "end",
    [
        lambda repo: repo.enrol(revoked=NOW),
        lambda repo: repo.store.delete(layout.enrolment_key(sha256(TOKEN.encode()))),
    ],
    ids=["revoked", "removed"],
)
def test_revocation_holds_after_half_a_minute(api: Api, end: Callable[[Repo], object]) -> None:
    assert api.get("/v1/lists").status_code == 200
    end(api.repo)
    api.clock.tick(29)
    assert api.get("/v1/lists").status_code == 200
    api.clock.tick(1)
    assert_problem(api.get("/v1/lists"), 401, "not-authenticated")


def test_a_clock_that_was_set_back_does_not_prolong_what_is_remembered(api: Api) -> None:
    assert api.get("/v1/lists").status_code == 200
    api.repo.enrol(revoked=NOW)
    api.clock.tick(-3600)
    assert_problem(api.get("/v1/lists"), 401, "not-authenticated")


def test_a_new_token_works_after_half_a_minute_when_it_was_tried_too_early(api: Api) -> None:
    headers = {"Authorization": "Bearer early-token"}
    assert api.get("/v1/lists", headers).status_code == 401
    api.repo.enrol("early-token")
    assert api.get("/v1/lists", headers).status_code == 401
    api.clock.tick(30)
    assert api.get("/v1/lists", headers).status_code == 200


def test_an_enrolment_under_the_name_of_another_token_is_not_used(api: Api) -> None:
    path = api.repo.file(layout.enrolment_key(sha256(b"other-token")))
    path.write_bytes(api.repo.file(layout.enrolment_key(sha256(TOKEN.encode()))).read_bytes())
    headers = {"Authorization": "Bearer other-token"}
    assert_problem(api.get("/v1/lists", headers), 401, "not-authenticated")


def test_a_flood_of_guesses_does_not_forget_a_subscriber(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blocklist.api import tokens

    monkeypatch.setattr(tokens, "MAX_TOKENS_UNKNOWN", 3)
    small = Api(api.repo)
    assert small.get("/v1/lists").status_code == 200
    for number in range(10):
        small.get("/v1/lists", headers={"Authorization": f"Bearer guess-{number}"})
    api.repo.file(layout.enrolment_key(sha256(TOKEN.encode()))).unlink()
    assert small.get("/v1/lists").status_code == 200


# -- tokens in use, looked at all together -------------------------------------------------------


class Reads:
    """Which enrolments are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[str] = []
        get = QuickStore.get

        def count(store: QuickStore, key: str, **more: int) -> object:
            if key.startswith(layout.ENROLMENTS):
                self.keys.append(key)
            return get(store, key, **more)

        monkeypatch.setattr(QuickStore, "get", count)

    def during(self, action: Callable[[], object]) -> int:
        """Return how many an action reads."""
        before = len(self.keys)
        action()
        return len(self.keys) - before


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


def aged(api: Api, minutes: float = 60) -> None:
    """Let the enrolment be older than its reading by that much."""
    path = api.repo.file(layout.enrolment_key(sha256(TOKEN.encode())))
    at = NOW.timestamp() - minutes * 60
    os.utime(path, (at, at))


def test_a_token_in_use_is_not_read_again_when_a_listing_shows_it_unchanged(
    api: Api, reads: Reads
) -> None:
    aged(api)
    refresh = api.services.tokens.refresh
    assert reads.during(lambda: api.get("/v1/lists")) == 1
    for _ in range(10):
        api.clock.tick(15)
        assert reads.during(refresh) == 0
        assert reads.during(lambda: api.get("/v1/lists")) == 0


def test_a_token_that_was_changed_lately_is_read_until_no_change_can_hide(
    api: Api, reads: Reads
) -> None:
    refresh = api.services.tokens.refresh
    api.get("/v1/lists")
    counts = []
    for _ in range(4):
        api.clock.tick(15)
        counts.append(reads.during(refresh))
    assert counts == [1, 1, 0, 0]


@pytest.mark.parametrize("minutes", [0, 60])
@pytest.mark.parametrize("listings", [0, 1, 2, 3])
def test_a_token_in_use_that_is_revoked_is_refused_after_the_next_listing(
    api: Api, minutes: float, listings: int
) -> None:
    aged(api, minutes)
    assert api.get("/v1/lists").status_code == 200
    for _ in range(listings):
        api.clock.tick(15)
        api.services.tokens.refresh()
    api.repo.enrol(revoked=NOW)
    api.services.tokens.refresh()
    assert_problem(api.get("/v1/lists"), 401, "not-authenticated")


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_text("{")])
def test_a_token_in_use_whose_enrolment_is_gone_or_damaged_is_forgotten(
    api: Api, change: Callable[[Path], object]
) -> None:
    assert api.get("/v1/lists").status_code == 200
    change(api.repo.file(layout.enrolment_key(sha256(TOKEN.encode()))))
    api.services.tokens.refresh()
    assert api.get("/v1/lists").status_code in {401, 500}


def test_without_tokens_in_use_nothing_is_listed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuickStore, "list", None)
    api.services.tokens.refresh()


def test_a_listing_that_fails_lets_what_is_remembered_age(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.get("/v1/lists").status_code == 200

    def down(*args: object, **more: object) -> None:
        raise StoreUnreachable("no answer")

    monkeypatch.setattr(QuickStore, "list", down)
    monkeypatch.setattr(QuickStore, "get", down)
    api.clock.tick(29)
    with pytest.raises(StoreUnreachable):
        api.services.tokens.refresh()
    assert api.get("/v1/lists").status_code == 200
    api.clock.tick(1)
    assert api.get("/v1/lists").status_code == 503


# -- limits --------------------------------------------------------------------------------------


def test_failures_block_an_address_but_not_a_token_in_use(template: Repo) -> None:
    api = Api(template, settings=ApiSettings(unauthenticated_per_minute=2))
    assert api.get("/v1/lists").status_code == 200
    wrong = [api.get("/v1/lists", Authorization=f"Bearer wrong-{n}") for n in range(4)]
    assert [answer.status_code for answer in wrong] == [401, 401, 429, 429]
    assert_problem(wrong[-1], 429, "too-many-requests")
    assert int(wrong[-1].headers["Retry-After"]) > 0
    assert api.get("/v1/lists").status_code == 200
    assert api.get("/v1/lists", headers={}).status_code == 429
    early = api.repo.enrol("new-token")
    assert api.get("/v1/lists", early).status_code == 429
    api.clock.tick(61)
    assert api.get("/v1/lists", early).status_code == 200


def test_a_blocked_address_costs_the_storage_nothing(
    template: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(template, settings=ApiSettings(unauthenticated_per_minute=2))
    reads = Reads(monkeypatch)
    for number in range(20):
        api.get("/v1/lists", Authorization=f"Bearer wrong-{number}")
    assert len(reads.keys) == 2


def test_a_token_has_its_own_limit_on_all_routes_together(template: Repo, tmp_path: Path) -> None:
    repo = template.copy(tmp_path / "store")
    api = Api(repo, settings=ApiSettings(requests_per_minute=len(ROUTES)))
    assert 429 not in [api.get(path).status_code for path in ROUTES]
    for path in ROUTES:
        answer = api.get(path)
        assert_problem(answer, 429, "too-many-requests")
        assert 0 < int(answer.headers["Retry-After"]) <= 61
    assert api.get("/v1/lists", repo.enrol("other-token")).status_code == 200
    assert api.get("/healthz").status_code == 200
    api.clock.tick(61)
    assert api.get("/v1/lists").status_code == 200
