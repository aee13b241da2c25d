"""What sources, clocks and strangers can do to a client: attacks by name that have no other test.

docs/threat-model.md names all of them with their tests. Those with keys of root, targets and online
role are in test_attacks_keys.py.
"""

from copy import deepcopy
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Targets

from blocklist.core import delta
from blocklist.core.entries import Feed
from blocklist.core.errors import Exit
from blocklist.publisher.curation import approving
from blocklist.store import layout
from blocklist.subscriber import pull
from signing import keys, names, roles
from signing.client import Verified
from signing.errors import Malformed, Rollback, Stale, Tampered, TrustError
from signing.head import Head
from signing.roles import RoleFile
from tests.client_clock import follow
from tests.curation_kit import Team
from tests.publisher_kit import LIST, Clock, no_passphrase, without_sync
from tests.signing_kit import World, key, target
from tests.subscriber_repo import Repo, content, enrolled, lines_of, refused


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


@pytest.fixture
def world() -> World:
    """Two releases of `demo`, one of `other`."""
    world = World()
    for name in (LIST, "other"):
        world.delegate(name)
        world.release(name)
    world.release()
    return world


def named(
    world: World,
    head: Head,
    *changed: RoleFile[Targets],
    by: Signer | None = None,
    jump: int = 1,
    digests: bool = True,
) -> None:
    """Plant roles, and snapshot metadata and timestamp that name them; by the online key."""
    signer, number = by or world.online, head.snapshot.version + jump
    signed = roles.next_snapshot(head.snapshot.signed, number, changed, world.now)
    if not digests:
        for meta in signed.meta.values():
            meta.hashes = meta.length = None
    snap = roles.seal(names.SNAPSHOT, signed, [signer])
    stamp = roles.next_timestamp(head.timestamp.version + jump, snap, world.now)
    for role in (*changed, snap):
        world.plant(names.file_name(role.name, role.version), role.data)
    world.plant(names.TIMESTAMP_FILE, roles.seal(names.TIMESTAMP, stamp, [signer]).data)


def fails(world: World, folder: Path, expected: type[TrustError], name: str = LIST) -> None:
    """Expect that to be the outcome, and that a client who had a release keeps it."""
    with pytest.raises(expected):
        world.client(folder, name)


def version(verified: Verified) -> int:
    assert verified.release is not None
    return verified.release.version


# Releases, old and mixed.


@pytest.mark.parametrize("role", [names.SNAPSHOT, LIST])
def test_a_file_of_another_release_under_the_name_of_todays(
    world: World, tmp_path: Path, role: str
) -> None:
    """Mix and match: an old snapshot, or an old list role, where a new one is named."""
    before = world.head()
    world.client(tmp_path)
    world.release()
    old, new = (
        (head.snapshot if role == names.SNAPSHOT else head.roles[role])
        for head in (before, world.head())
    )
    honest = world.get(names.file_name(role, new.version))
    world.plant(names.file_name(role, new.version), old.data)
    fails(world, tmp_path, Tampered)
    world.plant(names.file_name(role, new.version), honest)
    assert version(world.client(tmp_path)) == 3


def test_a_list_that_the_online_key_drops_from_snapshot_metadata(
    world: World, tmp_path: Path
) -> None:
    """Who has seen the list is not told that there is no release any more."""
    held = world.client(tmp_path)
    head = world.head()
    signed = deepcopy(head.snapshot.signed)
    signed.version += 1
    del signed.meta[names.meta_name(LIST)]
    snap = roles.seal(names.SNAPSHOT, signed, [world.online])
    stamp = roles.next_timestamp(head.timestamp.version + 1, snap, world.now)
    world.plant(names.file_name(names.SNAPSHOT, snap.version), snap.data)
    world.plant(names.TIMESTAMP_FILE, roles.seal(names.TIMESTAMP, stamp, [world.online]).data)
    fails(world, tmp_path, Malformed)
    assert held.release is not None
    known = (held.release.version, held.release.digest)
    with pytest.raises(Rollback):  # nor is one whose trust directory was lost
        world.client(tmp_path / "fresh", known=known)
    with pytest.raises(Rollback, match="demo version 2"):  # nor does the publisher begin anew
        world.head()


# Time.


@pytest.fixture
def clock(world: World, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The client's clock."""
    clock = Clock(world.now)
    follow(monkeypatch, clock)
    return clock


def test_a_freeze_is_unseen_for_a_day_and_then_stale(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    """Somebody shows the same files for ever, however often the publisher releases."""
    world.client(tmp_path)
    clock.tick(hours=12)
    assert version(world.client(tmp_path)) == 2
    clock.tick(hours=13)
    fails(world, tmp_path, Stale)
    fails(world, tmp_path / "fresh", Stale)
    world.now = clock()
    world.refresh()
    assert version(world.client(tmp_path)) == 2


def test_a_clock_that_is_a_day_fast_is_a_false_alarm(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    world.client(tmp_path)
    clock.tick(hours=25)
    fails(world, tmp_path, Stale)
    clock.tick(hours=-25)
    assert version(world.client(tmp_path)) == 2


def test_a_clock_that_is_a_month_slow_does_not_see_a_freeze(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    """A limit: nothing that is expired looks so. Whoever gets new releases is warned of them."""
    clock.tick(days=-30)
    assert version(world.client(tmp_path)) == 2


@pytest.mark.parametrize("role", [names.ROOT, names.TARGETS, LIST])
def test_a_role_that_nobody_renewed_is_stale(
    world: World, clock: Clock, tmp_path: Path, role: str
) -> None:
    world.client(tmp_path)
    head = world.head()
    found = {names.ROOT: head.root, names.TARGETS: head.targets, LIST: head.roles[LIST]}[role]
    world.now = clock.now = found.signed.expires + timedelta(hours=1)
    renewed = [world.role(LIST, 3)] if role != LIST else []
    if role == names.ROOT:
        signed = deepcopy(head.targets.signed)
        signed.version, signed.expires = signed.version + 1, world.now + timedelta(days=9)
        renewed.append(roles.seal(names.TARGETS, signed, [world.targets]))
    named(world, head, *renewed)
    fails(world, tmp_path, Stale)


# Sources.


@pytest.mark.parametrize("page", [b"<html>please log in</html>", b"", b"{}", b"[" * 4_000])
def test_a_page_where_the_next_root_is_not(world: World, tmp_path: Path, page: bytes) -> None:
    """A source that answers 200 to everything stops its clients, and tells them nothing."""
    held = world.client(tmp_path)
    with pytest.raises(Malformed):
        world.client(
            tmp_path, fetch=lambda name: [page] if name == "2.root.json" else world.fetch(name)
        )
    assert world.client(tmp_path) == held


@pytest.mark.parametrize("feed", list(Feed))
def test_the_bytes_of_one_list_served_as_those_of_another(tmp_path: Path, feed: Feed) -> None:
    """Genuine bytes of the same storage, of another list and of the other feed."""
    repo = Repo(lists=("demo", "other"))
    repo.release(lines_of(1))
    repo.release(lines_of(30), "other")
    source = f"file:{repo.write(tmp_path / 'repo')}"
    state = enrolled(tmp_path / "state", repo, source, feeds=(feed,))
    pull(state)
    held = {name: content(state, feed, name) for name in repo.lists}
    repo.release(lines_of(2))
    repo.release(lines_of(31), "other")
    foreign = repo.last("other").content
    for key_ in repo.keys(feed):
        repo.objects[key_] = foreign[feed]
    repo.write(tmp_path / "repo")
    refused(state, Exit.TAMPERED)
    assert content(state, feed, "demo") == held["demo"]
    assert content(state, feed, "other") == foreign[feed]


def test_a_delta_that_the_signed_role_names_and_that_gives_another_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also who signs for the list cannot install by a delta what the digest of the list is not."""
    repo = Repo()
    repo.release(lines_of(1))
    source = f"file:{repo.write(tmp_path / 'repo')}"
    state = enrolled(tmp_path / "state", repo, source)
    pull(state)
    twin = Repo()
    twin.release(lines_of(50))
    other, encode = twin.last().content, delta.encode
    with monkeypatch.context() as patch:
        patch.setattr(delta, "encode", lambda feed, old, new: encode(feed, old, other[feed]))
        repo.release(lines_of(2))
    assert all(repo.last().deltas.values())
    repo.write(tmp_path / "repo")
    assert {one.way for one in pull(state)} == {"list"}
    for feed in Feed:
        assert content(state, feed) == repo.last().content[feed]


# Other people's keys.


def test_one_signature_where_two_are_needed(world: World, tmp_path: Path) -> None:
    """Named by the online key all the same, with the signature once, twice, and by a stranger."""
    world.delegate("pair", keys=2, threshold=2)
    world.release("pair")
    assert version(world.client(tmp_path, "pair")) == 1
    head, thief = world.head(), world.lists["pair"][0]
    for number, signers in enumerate(([thief], [thief, thief], [thief, key()]), 1):
        named(world, head, world.role("pair", 2, signers=signers), jump=number)
        fails(world, tmp_path, Tampered, "pair")
        fails(world, tmp_path / "fresh", Tampered, "pair")
    assert version(world.client(tmp_path / "other", "other")) == 1


def test_a_signature_given_twice_under_two_ids(world: World, tmp_path: Path) -> None:
    world.delegate("pair", keys=2, threshold=2)
    role = world.role("pair", 1, signers=world.lists["pair"][:1])
    [signature] = role.metadata.signatures.values()
    other = deepcopy(signature)
    other.keyid = world.lists["pair"][1].public_key.keyid
    role.metadata.signatures[other.keyid] = other
    data = role.metadata.to_bytes(roles.SERIALIZER)
    named(world, world.head(), RoleFile("pair", data, role.metadata))
    fails(world, tmp_path, Tampered, "pair")


def test_a_role_of_one_list_named_as_another_that_the_same_key_signs(
    world: World, tmp_path: Path
) -> None:
    """Cross-list replay with the online key, without digests: nothing in it is inside the paths."""
    world.lists["twin"] = world.lists[LIST]
    head = world.head()
    top = roles.delegate(
        head.targets.signed,
        head.targets.version + 1,
        "twin",
        [world.lists[LIST][0].public_key],
        1,
        ["twin/clear/*", "twin/hashed/*"],
        world.now,
    )
    world.plan(targets=roles.seal(names.TARGETS, top, [world.targets])).write(world.store)
    replayed = RoleFile("twin", head.roles[LIST].data, head.roles[LIST].metadata)
    named(world, world.head(), replayed, digests=False)
    found = world.client(tmp_path, "twin").release
    assert found is not None
    assert not [path for path in found.targets if path.startswith("twin/")]
    with pytest.raises(TrustError):
        world.head(["twin"])


def test_targets_of_another_list_are_not_seen(world: World, tmp_path: Path) -> None:
    """The people of `other` sign a list for `demo`, and the online key names it."""
    evil = world.role("other", 2, target("other"), target(LIST, length=66))
    named(world, world.head(), evil)
    found = world.client(tmp_path).release
    assert found is not None
    assert found.version == 2
    assert [item.length for item in found.targets.values()] == [3]
    with pytest.raises(TrustError):
        world.plan(changed=[world.role("other", 3, target(LIST, length=66))])


def test_two_root_keys_of_three_are_everything(world: World, tmp_path: Path) -> None:
    """A limit: such thieves are followed. Only another repository, enrolled anew, ends that."""
    world.client(tmp_path)
    head, own = world.head(), key()

    def mine(root: Root) -> None:
        for role in (names.TARGETS, names.SNAPSHOT, names.TIMESTAMP):
            for keyid in list(root.roles[role].keyids):
                root.revoke_key(keyid, role)
            root.add_key(own.public_key, role)

    world.plant("2.root.json", world.rotated_root(2, mine))
    with pytest.raises(Tampered):  # what the honest online key signs counts no more
        world.client(tmp_path)
    signed = deepcopy(head.targets.signed)
    signed.version += 1
    named(world, head, roles.seal(names.TARGETS, signed, [own]), by=own)
    assert world.client(tmp_path).versions["root"] == 2
    anew = World()
    anew.delegate()
    anew.release()
    assert version(anew.client(tmp_path / "anew")) == 1
    with pytest.raises(TrustError):
        anew.client(tmp_path / "anew", fetch=world.fetch)


def test_a_stolen_key_and_one_honest_approval_are_two(tmp_path: Path) -> None:
    """A limit: until it is revoked, a stolen key of a list lowers its threshold by one.

    The account names it, so that whose key it is may notice.
    """
    team = Team.made(tmp_path)
    team.publish("a.example/x")
    digest = team.stage("ann", add="b.example/y")
    team.approve("ann", digest)
    stolen = keys.KeyFile(tmp_path / "cyd/keys/cyd", team.publics["cyd"].public)
    candidate = team.candidate(digest)
    approval = approving.signed(team.at("eve"), digest, candidate, stolen.signer(no_passphrase), ())
    team.kit.store.put_new(layout.approval_key(LIST, digest, approval.keyid), approval.to_bytes())
    released = team.release(digest)
    assert sorted(item.who for item in released.approvals.values()) == ["ann@desk", "eve@desk"]
    assert approval.keyid in released.approvals
