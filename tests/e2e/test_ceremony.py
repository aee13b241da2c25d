"""A repository with real keys as people make it: each in a home of their own, drafts as files."""

import base64
import hashlib
import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli_kit import World, arguments
from tests.forks import Forks

PEOPLE = ("ann", "ben", "cyd", "tgt")
TERMINAL_SECONDS = 60.0


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


def at(world: World, who: str) -> World:
    """Return the world as somebody's machine knows it."""
    return replace(world, environment=world.environment | {"BLOCKLIST_HOME": who})


def pub(who: str, name: str | None = None) -> str:
    return f"{who}/keys/{name or who}.pub"


def assembled(world: World, by: Forks) -> None:
    for who in PEOPLE:
        at(world, who).done("keys", "new", who, "--no-passphrase", by=by)
    for name in ("online", "list-demo"):
        at(world, "lead").done("keys", "new", name, "--no-passphrase", by=by)


def started(world: World, by: Forks) -> None:
    """Make a repository and the list `demo`."""
    assembled(world, by)
    roots = [word for who in ("ann", "ben", "cyd") for word in ("--root", pub(who))]
    others = ("--targets", pub("tgt"), "--online", pub("lead", "online"))
    at(world, "lead").done("init", *roots, *others, "--out", "first.json", by=by)
    for who in ("ann", "ben", "tgt"):
        at(world, who).done("trust", "sign", "first.json", "--yes", by=by)
    made = at(world, "lead").done("trust", "commit", "first.json", by=by)
    root = at(world, "lead").run("trust", "root", by=by).out
    assert hashlib.sha256(root.encode()).hexdigest() == made["fingerprint"]
    world.file("root.json", root)
    for who in PEOPLE:
        told = ("--fingerprint", made["fingerprint"])
        at(world, who).done("trust", "pin", "root.json", *told, by=by)
    new = ("--new-list", "demo", "--key", pub("lead", "list-demo"))
    at(world, "lead").done("trust", "propose", "list.json", *new, by=by)
    at(world, "tgt").done("trust", "sign", "list.json", "--yes", by=by)
    at(world, "lead").done("trust", "commit", "list.json", by=by)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> World:
    world = World(tmp_path_factory.mktemp("ceremony") / "world")
    world.folder.mkdir()
    started(world, forks)
    return world


@pytest.fixture
def world(shared: World, tmp_path: Path) -> World:
    return shared.copied(tmp_path / "world")


def test_a_repository_with_real_keys_serves_a_subscriber(world: World, forks: Forks) -> None:
    lead = at(world, "lead")
    lead.done("publish", "demo", "-", given="http://a.example/x", by=forks)
    words = ("--list", "demo", "--feed", "clear", "--source", "file:repo/feed", "--out", "isp.json")
    lead.done("subscriber", "add", "isp", *words, by=forks)
    lead.done("enrol", "isp.json", by=forks)  # no --accept-dev
    lead.done("pull", by=forks)
    assert lead.run("check", "http://a.example/x", by=forks).code == 1
    assert lead.done("fsck", by=forks)["ok"]


def test_keys_are_rotated_while_a_subscriber_pulls(world: World, forks: Forks) -> None:
    lead = at(world, "lead")
    lead.done("publish", "demo", "-", given="http://a.example/x", by=forks)
    words = ("--list", "demo", "--feed", "clear", "--source", "file:repo/feed", "--out", "isp.json")
    lead.done("subscriber", "add", "isp", *words, by=forks)
    lead.done("enrol", "isp.json", by=forks)
    lead.done("pull", by=forks)
    lead.done("keys", "new", "online-2", "--no-passphrase", by=forks)
    online = ("--online", pub("lead", "online-2"))
    lead.done("trust", "propose", "r2.json", *online, by=forks)
    for who, path in (("ann", "by-ann.json"), ("cyd", "by-cyd.json")):
        world.file(path, (world.folder / "r2.json").read_bytes())
        signed = at(world, who).done("trust", "sign", path, "--yes", by=forks)
        assert signed["signed_now"] == ["root"]
    both = ("by-ann.json", "by-cyd.json")
    shown = at(world, "ben").done("trust", "show", *both, by=forks)
    assert [(t["have"], t["need"]) for t in shown["signatures"]] == [(2, 2), (2, 2)]
    assert lead.done("trust", "commit", *both, by=forks)["versions"] == {"root": 2}
    assert lead.done("trust", "commit", *both, by=forks)["unchanged"]
    lead.done("pull", by=forks)
    status = at(world, "ben").done("trust", "status", by=forks)
    assert status["warnings"] == []
    (stamp,) = [role for role in status["roles"] if role["role"] == "timestamp"]
    key_id = json.loads(lead.run("keys", "list", "--json", by=forks).out)
    ids = {key["name"]: key["key_id"] for key in key_id}
    assert [key["id"] for key in stamp["keys"]] == [ids["online-2"]]


def test_a_list_is_renewed_and_its_key_replaced(world: World, forks: Forks) -> None:
    lead = at(world, "lead")
    lead.done("publish", "demo", "-", given="http://a.example/x", by=forks)
    lead.done("keys", "new", "list-2", "--no-passphrase", by=forks)
    add = ("--list", "demo", "--add-key", pub("lead", "list-2"))
    lead.done("trust", "propose", "add.json", *add, by=forks)
    at(world, "tgt").done("trust", "sign", "add.json", "--yes", by=forks)
    lead.done("trust", "commit", "add.json", by=forks)
    drop = ("--list", "demo", "--drop-key", pub("lead", "list-demo"))
    complaint = lead.refused(2, "trust", "propose", "drop.json", *drop, by=forks)
    assert "version 1 of demo has 0 signatures" in complaint
    (world.folder / "lead/keys/list-demo").unlink()
    renewed = lead.done("list", "renew", "demo", "--reason", "stolen laptop", by=forks)
    assert renewed["version"] == 2
    lead.done("trust", "propose", "drop.json", *drop, by=forks)
    at(world, "tgt").done("trust", "sign", "drop.json", "--yes", by=forks)
    assert lead.done("trust", "commit", "drop.json", by=forks)["versions"] == {"targets": 4}
    assert lead.done("fsck", by=forks)["ok"]


def test_a_commit_without_enough_signatures_changes_nothing(world: World, forks: Forks) -> None:
    lead = at(world, "lead")
    lead.done("trust", "propose", "r2.json", "--renew", "root", by=forks)
    at(world, "ann").done("trust", "sign", "r2.json", "--yes", by=forks)
    at(world, "ann").done("trust", "sign", "r2.json", "--yes", by=forks)  # counts once
    complaint = lead.refused(24, "trust", "commit", "r2.json", by=forks)
    assert complaint == "expected 2 signatures on root, got 1"


def test_without_a_terminal_nothing_is_signed_unasked(world: World, forks: Forks) -> None:
    at(world, "lead").done("trust", "propose", "r2.json", "--renew", "root", by=forks)
    before = (world.folder / "r2.json").read_bytes()
    ran = at(world, "ann").run("trust", "sign", "r2.json", by=forks)
    assert ran.code == 2
    assert "expected --yes, or a terminal" in ran.err
    assert (world.folder / "r2.json").read_bytes() == before


def test_who_signs_needs_no_storage(world: World, forks: Forks) -> None:
    at(world, "lead").done("trust", "propose", "r2.json", "--renew", "root", by=forks)
    alone = World(world.folder, {"BLOCKLIST_HOME": "ann", "BLOCKLIST_STORAGE": ""})
    assert alone.done("trust", "sign", "r2.json", "--yes", by=forks)["signed_now"] == ["root"]
    assert alone.done("trust", "show", "r2.json", by=forks)["version"] == 2


def test_an_edited_draft_is_named_and_refused(world: World, forks: Forks) -> None:
    at(world, "lead").done("trust", "propose", "r2.json", "--renew", "root", by=forks)
    at(world, "ann").done("trust", "sign", "r2.json", "--yes", by=forks)
    document = json.loads((world.folder / "r2.json").read_bytes())
    document["description"] = "only renews the root"
    world.file("edited.json", json.dumps(document))
    for words in (
        ("sign", "edited.json", "--yes"),
        ("show", "edited.json"),
        ("commit", "edited.json"),
    ):
        complaint = at(world, "ben").refused(14, "trust", *words, by=forks)
        assert complaint.startswith("edited.json: expected draft with exactly the fields")


def test_a_key_is_never_overwritten_and_a_draft_neither(world: World, forks: Forks) -> None:
    ann = at(world, "ann")
    before = (world.folder / "ann/keys/ann").read_bytes()
    assert "never overwritten" in ann.refused(30, "keys", "new", "ann", "--no-passphrase", by=forks)
    assert (world.folder / "ann/keys/ann").read_bytes() == before
    complaint = at(world, "lead").refused(
        30, "trust", "propose", "first.json", "--renew", "root", by=forks
    )
    assert complaint == "first.json exists; it was not touched"


def test_a_key_file_that_others_may_read_does_not_sign(world: World, forks: Forks) -> None:
    at(world, "lead").done("trust", "propose", "r2.json", "--renew", "root", by=forks)
    (world.folder / "ann/keys/ann").chmod(0o644)
    ran = at(world, "ann").run("trust", "sign", "r2.json", "--yes", by=forks)
    assert ran.code == 30
    assert "mode 0600" in ran.err


def test_an_interrupted_key_is_finished(world: World, forks: Forks) -> None:
    ann = at(world, "ann")
    (world.folder / pub("ann")).unlink()
    made = ann.done("keys", "new", "ann", "--no-passphrase", by=forks)
    assert made["public"] == "ann/keys/ann.pub"
    at(world, "lead").done("trust", "propose", "r2.json", "--renew", "root", by=forks)
    assert ann.done("trust", "sign", "r2.json", "--yes", by=forks)["signed_now"] == ["root"]


def test_a_machine_says_that_its_key_shall_have_no_passphrase(world: World, forks: Forks) -> None:
    complaint = at(world, "new").refused(30, "keys", "new", "new", by=forks)
    assert "--no-passphrase" in complaint
    world.file("empty", "\n")
    unset = replace(world, environment={"BLOCKLIST_PASSPHRASE_FILE": "empty"})
    assert "empty one" in at(unset, "new").refused(30, "keys", "new", "new", by=forks)


def test_a_passphrase_from_a_file_encrypts_the_key(world: World, forks: Forks) -> None:
    world.file("passphrase", "correct horse\n")
    sealed = replace(world, environment={"BLOCKLIST_PASSPHRASE_FILE": "passphrase"})
    at(sealed, "new").done("keys", "new", "new", by=forks)
    assert b"bcrypt" in _armoured((world.folder / "new/keys/new").read_text())


def _armoured(text: str) -> bytes:
    return base64.b64decode("".join(text.splitlines()[1:-1]))


def test_a_person_types_the_number_of_what_is_signed(world: World, forks: Forks) -> None:
    at(world, "lead").done("trust", "propose", "r2.json", "--renew", "root", by=forks)
    before = (world.folder / "r2.json").read_bytes()
    code, text = typed(at(world, "ann"), ["trust", "sign", "r2.json"], ["3"])
    assert (code, (world.folder / "r2.json").read_bytes()) == (2, before)
    assert "root version 2, after version 1" in text
    code, text = typed(at(world, "ann"), ["trust", "sign", "r2.json"], ["2"])
    assert code == 0
    assert "root: 1 of 2 signatures by the old root" in text


def test_a_person_is_asked_twice_for_a_new_passphrase(world: World) -> None:
    code, text = typed(at(world, "new"), ["keys", "new", "new"], ["one horse", "another", "x", "x"])
    assert code == 0
    assert "do not match" in text
    assert "one horse" not in text
    assert (world.folder / "new/keys/new").stat().st_mode & 0o777 == 0o600


def test_a_person_compares_the_fingerprint(world: World) -> None:
    code, text = typed(at(world, "new"), ["trust", "pin", "root.json"], ["n"])
    assert code == 130
    assert not (world.folder / "new/trust.json").exists()
    code, _ = typed(at(world, "new"), ["trust", "pin", "root.json"], ["y"])
    assert code == 0
    fingerprint = hashlib.sha256((world.folder / "root.json").read_bytes()).hexdigest()
    assert " ".join(fingerprint[at : at + 4] for at in range(0, 64, 4)) in text


def typed(world: World, words: list[str], answers: list[str]) -> tuple[int, str]:
    """Run a command on a terminal of its own, answering each question; return what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        arguments(*words),
        cwd=world.folder,
        env=world.env(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, left, end = b"", list(answers), time.monotonic() + TERMINAL_SECONDS
    asked = 0
    while time.monotonic() < end:
        if select.select([ours], [], [], 0.05)[0]:
            try:
                shown += os.read(ours, 65_536)
            except OSError:  # the command has ended
                break
        elif left and shown[asked:].rstrip(b" ").endswith((b":", b"]:")):
            asked = len(shown)
            os.write(ours, left.pop(0).encode() + b"\n")
    os.close(ours)
    return process.wait(timeout=TERMINAL_SECONDS), shown.decode("utf-8", "replace")
