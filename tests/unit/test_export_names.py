"""Which entries become names of DNS: of the real sample, and of hostile lists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocklist.core.entries import Kind
from blocklist.core.errors import ExportRefused, InputError, UnknownFormat
from blocklist.core.sources import parse_source
from blocklist.subscriber.exports.names import DomainName, HostName, classify
from blocklist.subscriber.exports.rpz import (
    Policy,
    holdable,
    next_serial,
    owners,
    render,
    room,
    serial_of,
)
from blocklist.subscriber.exports.rules import Action, Rule, rules
from scripts import sample

ZONE = "rpz.example"
NOTHING = classify([])
PACKAGE = Path(__file__).parents[2] / "blocklist"


class TestPathEntries:
    def test_no_path_entry_of_the_real_sample_becomes_a_host(self) -> None:
        """Thousands of them are on hosts that many people share."""
        text = "\n".join(next(sample.versions(1))).encode()
        lines = parse_source(text, format="text", drop_ports=True, skip_bad=True).lines
        whole = {line[2:].decode() for line in lines if line[:1] in b"hd"}
        paths = [line for line in lines if line[:1] in b"up"]
        with_paths = {line[2:].decode().partition("/")[0] for line in paths}
        assert len(paths) > 3_000
        assert "github.com" in with_paths
        names = classify(lines)
        found = rules(names, NOTHING, room(ZONE))
        zone = render(found.of, ZONE, 1, Policy("nxdomain"))
        written = {owner.decode() for owner in owners(zone)}
        assert written <= whole
        assert not written & (with_paths - whole)
        assert names.skipped["path"] == len(paths)
        kept = len(names.hosts) + len(names.domains)
        assert kept + sum(names.skipped.values()) == len(lines)

    def test_paths_alone_leave_nothing(self) -> None:
        lines = [b"u github.example/a", b"u github.example/", b"p github.example/b"]
        found = classify(lines)
        assert (found.hosts, found.domains, found.skipped) == (set(), set(), {"path": 3})

    def test_only_classify_makes_names(self) -> None:
        """So a target of DNS can only be given what was a whole host or domain entry."""
        kinds = {HostName.__name__, DomainName.__name__}
        assert set(makers(kinds)) == {("names.py", "classify")}

    def test_no_target_looks_at_the_host_of_an_entry(self) -> None:
        """`Entry.host` is the way from a path to a host."""
        for path in (PACKAGE / "subscriber" / "exports").glob("*.py"):
            assert not re.search(r"entry\.host\b|\.partition\(.?[\"']/", path.read_text()), path


def makers(kinds: set[str]) -> Iterator[tuple[str, str]]:
    """Yield where in the package a class is called, as file and function."""
    for path in PACKAGE.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in kinds:
                        yield path.name, function.name


class TestClassify:
    @pytest.mark.parametrize(
        ("host", "reason"),
        [
            ("192.0.2.7", "address"),
            ("[2001:db8::1]", "address"),
            ("com", "single-label"),
            ("a..example", "name-shape"),
            (".a.example", "name-shape"),
            ("a.example.", "name-shape"),
            ("a" * 64 + ".example", "name-shape"),
            (".".join(["a" * 50] * 6), "name-shape"),
            ("A.example", "name-shape"),
            ("*.example", "name-shape"),
            ("$INCLUDE", "name-shape"),
            ("a;b.example", "name-shape"),
            ('a"b.example', "name-shape"),
            ("a\\046b.example", "name-shape"),
            ("a(b.example", "name-shape"),
            ("@.example", "name-shape"),
            ("host.example/page", "name-shape"),
            ("host.example:80", "name-shape"),
        ],
    )
    def test_what_is_skipped(self, host: str, reason: str) -> None:
        for kind in (Kind.HOST, Kind.DOMAIN):
            found = classify([f"{kind.letter} {host}".encode()])
            assert (found.hosts, found.domains, found.skipped) == (set(), set(), {reason: 1})

    def test_what_is_kept(self) -> None:
        found = classify([b"h a_b.example", b"d 1.example", b"h xn--bcher-kva.example", b"h -.a"])
        assert {one.name for one in found.hosts} == {"a_b.example", "xn--bcher-kva.example", "-.a"}
        assert {one.name for one in found.domains} == {"1.example"}

    def test_a_kind_that_is_not_known(self) -> None:
        with pytest.raises(UnknownFormat):
            classify([b"x a.example"])


class TestLength:
    def test_names_have_room_for_the_zone_behind_them(self) -> None:
        most = room(ZONE)
        fits = ".".join(["a" * 59] * 4)[: most - 9] + "b.example"
        assert len(fits) == most
        for line, kept in (
            (f"h {fits}", True),
            (f"h c{fits}", False),
            (f"d {fits}", False),
            (f"d {fits[2:]}", True),
        ):
            found = rules(classify([line.encode()]), NOTHING, most)
            assert bool(found.of) is kept
            assert found.skipped == ({} if kept else {"too-long": 1})

    @pytest.mark.parametrize("labels", [10, 100, 119, 127])
    def test_many_labels(self, labels: int) -> None:
        name = ".".join(["a"] * labels)
        found = rules(classify([f"h {name}".encode()]), NOTHING, room(ZONE))
        assert bool(found.of) is (len(name) <= room(ZONE))

    def test_a_name_that_must_pass_and_does_not_fit_stops_everything(self) -> None:
        allowed = classify([f"h {'a.' * 118}b.example".encode()])
        with pytest.raises(ExportRefused):
            rules(classify([b"d b.example"]), allowed, room(ZONE))
        assert rules(classify([b"d c.example"]), allowed, room(ZONE)).of

    @pytest.mark.parametrize("zone", ["", "a..b", "Rpz.example", "rpz.example.", "a" * 101, "a b"])
    def test_a_zone_without_a_name(self, zone: str) -> None:
        with pytest.raises(InputError):
            room(zone)


class TestRpz:
    def test_the_file(self) -> None:
        found = rules(
            classify([b"d name.example", b"h host.example", b"h below.name.example"]),
            classify([b"h ok.name.example"]),
            room(ZONE),
        )
        assert render(found.of, ZONE, 7, Policy("nxdomain")).decode() == (
            "$TTL 60\n"
            "$ORIGIN rpz.example.\n"
            "@ SOA localhost. hostmaster.localhost. 7 300 60 604800 60\n"
            "@ NS localhost.\n"
            "*.name.example CNAME .\n"
            "*.ok.name.example CNAME .\n"
            "host.example CNAME .\n"
            "name.example CNAME .\n"
            "ok.name.example CNAME rpz-passthru.\n"
        )

    @pytest.mark.parametrize(
        ("policy", "data"),
        [
            ("nodata", "CNAME *."),
            ("garden.example", "CNAME garden.example."),
            ("192.0.2.1", "A 192.0.2.1"),
            ("2001:db8::1", "AAAA 2001:db8::1"),
        ],
    )
    def test_policies(self, policy: str, data: str) -> None:
        file = render({"a.example": Rule(Action.BLOCK, None)}, ZONE, 1, Policy(policy))
        assert file.decode().splitlines()[-1] == f"a.example {data}"

    @pytest.mark.parametrize("policy", ["", "rpz-passthru", "rpz-drop.example", "a b.c", "$A.b"])
    def test_what_is_no_policy(self, policy: str) -> None:
        with pytest.raises(InputError):
            Policy(policy)

    def test_names_that_the_zone_cannot_hold(self) -> None:
        names = classify([b"h a_b.example", b"h 32.1.2.0.192.rpz-ip", b"d c.example", b"h com"])
        assert holdable(names, Policy("nxdomain")).skipped == {"single-label": 1, "reserved": 1}
        found = holdable(names, Policy("192.0.2.1"))
        assert found.skipped == {"single-label": 1, "reserved": 1, "underscore": 1}
        assert {one.name for one in found.domains} == {"c.example"}

    @pytest.mark.parametrize("name", ["-a.example", "a-.example", "b.-.example", "a.b-.example"])
    def test_one_name_that_checkers_refuse_with_addresses_does_not_stop_the_others(
        self, name: str
    ) -> None:
        names = classify([f"h {name}".encode(), f"d {name}".encode(), b"h a-b.example"])
        for policy in ("192.0.2.1", "2001:db8::1"):
            found = holdable(names, Policy(policy))
            assert found.skipped == {"hyphen": 2}
            assert {one.name for one in found.hosts | found.domains} == {"a-b.example"}
        for policy in ("nxdomain", "nodata", "walled.example"):
            assert holdable(names, Policy(policy)) == names

    @pytest.mark.parametrize(
        ("last", "version", "serial"),
        [
            (None, 7, 7),
            (None, 0, 1),
            (6, 7, 7),
            (7, 7, 8),  # the same version with another exception
            (8, 7, 9),
            (9, 9, 10),
            (9, 12, 12),
            (40, 12, 41),  # a rollback
            ((1 << 32) - 1, 5, 5),  # wraps
            ((1 << 32) - 1, (1 << 32) - 1, 1),
            (10, (1 << 31) + 11, 11),  # too far ahead is behind
            (3, (1 << 32) + 4, 4),
        ],
    )
    def test_serials_rise(self, last: int | None, version: int, serial: int) -> None:
        assert next_serial(last, version) == serial

    def test_the_serial_of_a_file(self) -> None:
        assert serial_of(render({}, ZONE, 4_294_967_295, Policy("nxdomain"))) == 4_294_967_295
        assert serial_of(b"something else") is None
