"""What monitoring is told: never OK when less is blocked than released."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from blocklist.core.errors import LocalError
from blocklist.subscriber import PullFailed, excepting, pull, settings
from blocklist.subscriber.exports import Definition, record
from blocklist.subscriber.holds import hold
from blocklist.subscriber.monitoring import health, nagios, textfile
from blocklist.subscriber.monitoring.health import Ages, Level
from blocklist.subscriber.monitoring.report import report
from blocklist.subscriber.state import State
from tests.subscriber_repo import BOTH, Repo, enrolled, lines_of

DAY = timedelta(days=1)
AGES = Ages()
PERFORMANCE = re.compile(r"('[a-z0-9/ -]+'|[a-z]+)=[0-9]+s?(;[0-9]*){0,4}")


@pytest.fixture(name="repo")
def _repo() -> Repo:
    repo = Repo()
    repo.release(lines_of(1))
    return repo


@pytest.fixture(name="state")
def _state(tmp_path: Path, repo: Repo) -> State:
    state = enrolled(tmp_path / "state", repo, f"file:{repo.write(tmp_path / 'repo')}")
    pull(state)
    return state


def judged(state: State, later: timedelta = timedelta()) -> tuple[Level, list[str]]:
    found = report(state, datetime.now(UTC) + later)
    listed = health.problems(found, AGES)
    assert [one.level for one in listed] == sorted((one.level for one in listed), reverse=True)
    return health.level(found, listed), [one.text for one in listed]


def plugin(state: State, later: timedelta = timedelta()) -> str:
    found = report(state, datetime.now(UTC) + later)
    return nagios.text(found, health.problems(found, AGES), AGES)


def figures(state: State) -> dict[str, dict[tuple[str, ...], float]]:
    """Return what Prometheus reads: metric, values of its labels, figure."""
    found = report(state, datetime.now(UTC))
    text = textfile.text(found, health.level(found, health.problems(found, AGES)))
    read: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            name = sample.name.removeprefix("blocklist_subscriber_")
            read.setdefault(name, {})[tuple(sample.labels.values())] = sample.value
    return read


def exported(state: State, **changes: object) -> None:
    """Write the record of an export."""
    path = record.path_of(state.directory, "rpz")
    path.parent.mkdir(exist_ok=True)
    time = "2026-05-04T12:00:00Z"
    document = {
        "format": 1,
        "definition": Definition("rpz", "rpz", "/rpz.zone", "rpz.example").to_document(),
        "written": None,
        "live": {"versions": {"demo": 1}, "serial": 1, "time": time},
        "entries": 61,
        "enforced": 1,
        "skipped": {"path": 60},
        "pending": False,
        "outcome": "live",
        "exit": 0,
        "message": "",
        "time": time,
    }
    path.write_text(json.dumps(document | changes))


class TestHealth:
    def test_all_is_well(self, state: State) -> None:
        exported(state)
        assert judged(state) == (Level.OK, [])

    def test_nothing_enrolled_is_unknown(self, tmp_path: Path) -> None:
        assert judged(State(tmp_path / "nowhere"))[0] is Level.UNKNOWN

    def test_before_the_first_pull(self, tmp_path: Path, repo: Repo) -> None:
        level, texts = judged(enrolled(tmp_path / "state", repo, "https://feed.example"))
        assert level is Level.CRITICAL
        assert "demo/clear: nothing is installed" in texts

    def test_age_of_the_last_success(self, state: State) -> None:
        assert judged(state, settings.WARNING_AGE - timedelta(minutes=1))[0] is Level.OK
        assert judged(state, settings.WARNING_AGE)[0] is Level.WARNING
        assert judged(state, settings.CRITICAL_AGE)[0] is Level.CRITICAL

    def test_metadata_that_expires_soon_or_has(self, state: State) -> None:
        found = report(state, datetime.now(UTC))
        expires = found.feeds[0].expires
        assert expires is not None
        slow = Ages(9 * DAY, 9 * DAY)
        for before, level in (
            (settings.EXPIRY_WARNING + timedelta(minutes=1), Level.OK),
            (settings.EXPIRY_WARNING, Level.WARNING),
            (timedelta(), Level.CRITICAL),
        ):
            late = report(state, expires - before)
            assert health.level(late, health.problems(late, slow)) is level

    def test_unreachable_may_mend_and_tampered_does_not(
        self, state: State, repo: Repo, tmp_path: Path
    ) -> None:
        repo.forge_timestamp("somebody")
        repo.write(tmp_path / "repo")
        with pytest.raises(PullFailed):
            pull(state)
        level, texts = judged(state)
        assert level is Level.CRITICAL
        assert "tampered" in texts[0]
        (tmp_path / "repo").rename(tmp_path / "away")
        with pytest.raises(PullFailed):
            pull(state)
        level, texts = judged(state)
        assert level is Level.WARNING
        assert "unreachable" in texts[0]

    def test_a_damaged_list(self, state: State) -> None:
        next(state.directory.rglob("*.list")).write_bytes(b"")
        level, texts = judged(state)
        assert level is Level.CRITICAL
        assert "damaged" in texts[0]

    def test_decisions_are_not_forgotten(self, state: State) -> None:
        now = datetime.now(UTC)
        until = now + timedelta(minutes=30)
        excepting.add(state, ["a.example"], until=until, reason="x", now=now)
        assert judged(state)[0] is Level.OK
        level, texts = judged(state, timedelta(minutes=31))
        assert level is Level.WARNING
        assert "have ended: 1" in texts[0]
        hold(state, (), version=None, until=until, reason="x", now=now)
        assert "HELD" in judged(state)[1][0]
        for name in ("exceptions.json", "hold.json"):
            (state.directory / name).write_bytes(b"damaged")
            assert judged(state)[0] is Level.CRITICAL

    @pytest.mark.parametrize(
        ("changes", "level", "text"),
        [
            ({"outcome": "refused", "message": "the checker"}, Level.CRITICAL, "refused"),
            ({"outcome": "failed", "message": "disk"}, Level.CRITICAL, "failed"),
            ({"outcome": "pending", "pending": True}, Level.WARNING, "tried again"),
            ({"live": None}, Level.CRITICAL, "nothing is live"),
        ],
    )
    def test_an_export_that_is_not_as_it_should_be(
        self, state: State, changes: dict[str, object], level: Level, text: str
    ) -> None:
        exported(state, **changes)
        found, texts = judged(state)
        assert found is level
        assert text in texts[0]

    def test_an_export_behind_the_list_in_force(self, state: State, repo: Repo) -> None:
        exported(state)
        repo.release(lines_of(2))
        repo.write(state.directory.parent / "repo")
        pull(state)
        assert judged(state)[0] is Level.OK  # it has just been installed
        level, texts = judged(state, settings.CRITICAL_AGE)
        assert level is Level.CRITICAL
        assert "export rpz: demo is live at version 1, in force is 2" in texts

    @pytest.mark.parametrize("damage", ["", "{", '{"pending": 1}', '{"live": {"versions": 1}}'])
    def test_a_damaged_record_of_an_export(self, state: State, damage: str) -> None:
        exported(state)
        record.path_of(state.directory, "rpz").write_text(damage)
        level, texts = judged(state)
        assert level is Level.CRITICAL
        assert texts[0].startswith("export rpz: its record")


class TestNagios:
    def test_one_line_with_performance_data(self, state: State) -> None:
        exported(state)
        (line,) = plugin(state).splitlines()
        said, _, data = line.partition(" | ")
        assert said.startswith("BLOCKLIST OK - demo/clear version 1, demo/hashed version 1, ")
        assert said.endswith("export rpz 1 of 61")
        labels = re.split(r" (?='|[a-z]+=)", re.sub(r"(?<=[a-z0-9]) (?=[a-z]+')", "_", data))
        assert all(PERFORMANCE.fullmatch(one.replace("_", " ")) for one in labels), labels
        assert "'demo/clear entries'=61;;;0" in data
        assert re.search(r"'demo/hashed age'=[0-9]s;3600;21600;0", data)

    def test_each_problem_has_a_line(self, state: State) -> None:
        now = datetime.now(UTC)
        hold(state, (), version=None, until=now + DAY, reason="a | b\nc", now=now)
        first, *more = plugin(state, settings.CRITICAL_AGE).splitlines()
        assert first.startswith("BLOCKLIST CRITICAL - demo/")
        assert first.count("|") == 1
        assert [one for one in more if one.startswith("WARNING: demo is HELD") and "a / b c" in one]


class TestTextfile:
    def test_prometheus_reads_it(self, state: State) -> None:
        now = datetime.now(UTC)
        excepting.add(state, ["a.example"], until=now + DAY, reason="x", now=now)
        hold(state, (), version=None, until=now + DAY, reason="x", now=now)
        exported(state, outcome="pending", pending=True)
        read = figures(state)
        assert read["version"] == {("demo", feed.value): 1 for feed in BOTH}
        assert read["entries"]["demo", "clear"] == 61
        assert read["last_pull_exit"]["demo", "clear"] == 0
        assert read["last_pull_outcome"]["demo", "hashed", "updated"] == 1
        found = report(state, now).feeds[0]
        assert found.expires is not None
        assert read["expires_timestamp_seconds"]["demo", "clear"] == found.expires.timestamp()
        assert read["export_live_version"] == {("rpz", "demo"): 1}
        assert read["export_skipped"] == {("rpz", "path"): 60}
        assert read["export_pending"] == {("rpz",): 1}
        assert read["holds"] == read["exceptions"] == read["health"] == {(): 1}
        ends = datetime.fromtimestamp(read["hold_until_timestamp_seconds"]["demo",], UTC)
        assert abs(ends - now - DAY) < timedelta(seconds=1)

    def test_damage_is_a_figure(self, state: State) -> None:
        (state.directory / "exceptions.json").write_bytes(b"")
        exported(state, pending=None)
        read = figures(state)
        assert read["decisions_damaged"] == read["exports_damaged"] == {(): 1}
        assert "exceptions" not in read
        assert read["health"] == {(): 2}

    def test_the_file_is_replaced_at_once_and_for_another_user(
        self, state: State, tmp_path: Path
    ) -> None:
        found = report(state, datetime.now(UTC))
        path = tmp_path / "blocklist.prom"
        path.write_text("old")
        textfile.write(path, found, Level.OK)
        assert path.stat().st_mode & 0o777 == 0o644
        assert path.read_text().endswith("\n")
        with pytest.raises(LocalError):
            textfile.write(tmp_path / "none" / "blocklist.prom", found, Level.OK)

    def test_labels_are_escaped(self, state: State) -> None:
        exported(state, skipped={'a"b\\c\nd': 2})
        assert figures(state)["export_skipped"] == {("rpz", 'a"b\\c\nd'): 2}
