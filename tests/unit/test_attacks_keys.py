"""What a thief of keys can do, and how it ends: each attack on keys and roots, by name.

The thief can always write to the storage, and clients read what the thief left there. Attacks on
objects and lists are elsewhere; docs/threat-model.md names them all.
"""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, Targets

from blocklist.core.errors import BlocklistError, Exit
from blocklist.publisher import upkeep
from blocklist.publisher.ceremonies import ceremony, enact
from blocklist.store import layout
from signing import commit, create, names, roles
from signing.errors import LostRace, Rollback, SignaturesMissing, Stale, Tampered, TrustError
from signing.head import Head
from signing.proposals import ListChange, RootChange
from signing.roles import RoleFile
from tests.ceremony_kit import LEAD, LISTS, ONLINE, TARGETS, Hotline
from tests.curation_kit import Team
from tests.fakes import MemoryStore
from tests.publisher_kit import LIST, Clock, without_sync
from tests.signing_kit import key, target

FAR = 10**9


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Hotline:
    """Two releases of a list that one key signs, seen by the lead's home and by a client."""
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        hotline = Hotline.started(tmp_path_factory.mktemp("attacks") / "hotline")
        hotline.kit().publish("a.example/x\nb.example/y")
        for who, name in ((LEAD, "online-2"), (LEAD, "list-2"), ("tgt-2", "tgt-2")):
            hotline.new_key(who, name)
        hotline.pin("tgt-2")
        hotline.client("healthy")
        hotline.kit().head()
    return hotline


@pytest.fixture
def hotline(shared: Hotline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hotline:
    without_sync(monkeypatch)
    return shared.copied(tmp_path / "hotline")


class Thief:
    """Somebody who writes into the storage what stolen keys sign."""

    def __init__(self, hotline: Hotline) -> None:
        self.hotline = hotline
        self.head: Head = hotline.kit().head()

    def plant(self, role: RoleFile[Any]) -> None:
        file = names.file_name(role.name, role.version)
        if role.name == names.TIMESTAMP:
            file = names.TIMESTAMP_FILE
        self.hotline.memory.plant(layout.METADATA + file, role.data)

    def root(
        self, change: Callable[[Root], None], signers: Sequence[Signer], version: int = 2
    ) -> None:
        signed = deepcopy(self.head.root.signed)
        signed.version = version
        change(signed)
        self.plant(roles.seal(names.ROOT, signed, signers))

    def name(self, *changed: RoleFile[Targets], by: Signer, jump: int = 1) -> None:
        """Sign snapshot metadata and timestamp that name these roles, with the online key."""
        now = self.hotline.clock()
        number = self.head.snapshot.version + jump
        snap = roles.seal(
            names.SNAPSHOT,
            roles.next_snapshot(self.head.snapshot.signed, number, changed, now),
            [by],
        )
        stamp = roles.next_timestamp(self.head.timestamp.version + jump, snap, now)
        for role in (*changed, snap, roles.seal(names.TIMESTAMP, stamp, [by])):
            self.plant(role)

    def list(self, version: int, *signers: Signer) -> RoleFile[Targets]:
        signed = roles.new_delegated(version, [target(LIST)], self.hotline.clock())
        return roles.seal(LIST, signed, signers)

    def takes_the_list(self, signer: Signer, own: Signer) -> RoleFile[Targets]:
        """Return a targets role that delegates the list to a key of the thief's own."""
        signed = deepcopy(self.head.targets.signed)
        signed.version += 1
        assert signed.delegations is not None
        assert signed.delegations.roles is not None
        signed.revoke_key(self.hotline.key(LISTS).keyid, LIST)
        signed.add_key(own.public_key, LIST)
        return roles.seal(names.TARGETS, signed, [signer])


@pytest.fixture
def thief(hotline: Hotline) -> Thief:
    return Thief(hotline)


def refused(hotline: Hotline, expected: type[TrustError], *clients: str) -> None:
    for name in clients or ("healthy", "fresh"):
        with pytest.raises(expected):
            hotline.client(name)


def version(hotline: Hotline, client: str) -> int:
    release = hotline.client(client).release
    assert release is not None
    return release.version


# Root keys.


def test_one_root_key_of_three_changes_nothing(hotline: Hotline, thief: Thief) -> None:
    own = key().public_key

    def mine(root: Root) -> None:
        root.add_key(own, names.TARGETS)

    thief.root(mine, [hotline.signer("ann")])
    refused(hotline, Tampered)
    with pytest.raises(Tampered):
        hotline.kit("ben").head()


def test_a_next_root_that_only_its_own_keys_sign_is_refused(hotline: Hotline, thief: Thief) -> None:
    own = [key() for _ in range(3)]

    def all_mine(root: Root) -> None:
        for keyid in list(root.roles[names.ROOT].keyids):
            root.revoke_key(keyid, names.ROOT)
        for signer in own:
            root.add_key(signer.public_key, names.ROOT)

    thief.root(all_mine, own)
    refused(hotline, Tampered)


def test_a_root_that_skips_a_number_is_refused(hotline: Hotline, thief: Thief) -> None:
    """An old root ceremony's file under another number, or a number left out."""
    signed = deepcopy(thief.head.root.signed)
    signed.version = 3
    file = roles.seal(names.ROOT, signed, [hotline.signer(name) for name in ("ann", "ben")])
    hotline.memory.plant(f"{layout.METADATA}2.root.json", file.data)
    refused(hotline, Rollback)
    with pytest.raises(Rollback):
        hotline.kit("ben").head()


def test_a_pinned_root_that_was_edited_is_refused(hotline: Hotline, tmp_path: Path) -> None:
    document = json.loads(hotline.kit().root())
    document["signed"]["roles"]["root"]["threshold"] = 1
    edited = json.dumps(document).encode()
    hotline.memory.plant(f"{layout.METADATA}1.root.json", edited)
    refused(hotline, Tampered, "fresh")


def test_a_mirror_that_withholds_the_next_root_is_stopped_by_expiry(hotline: Hotline) -> None:
    """The revoked online key counts there for at most 24 hours, unless its thief keeps signing."""
    withheld = hotline.memory.objects
    hotline.change_root(RootChange(online=[hotline.key("online-2")]), "ann", "ben")
    mirror = MemoryStore()
    for name, data in withheld.items():
        mirror.plant(name, data)
    behind = Hotline(hotline.folder, mirror, hotline.clock)
    assert behind.client("healthy").versions["root"] == 1
    assert hotline.client("healthy").versions["root"] == 2
    refused(behind, Tampered, "healthy")  # who has seen the new root cannot be led back


def test_a_mirror_that_withholds_everything_is_stale_after_a_day(tmp_path: Path) -> None:
    clock = Clock()
    clock.tick(hours=-25)
    hotline = Hotline.started(tmp_path / "hotline", clock)
    refused(hotline, Stale, "fresh")


# The online key.


def test_the_online_key_alone_cannot_change_a_list(hotline: Hotline, thief: Thief) -> None:
    thief.name(thief.list(3, hotline.signer(ONLINE)), by=hotline.signer(ONLINE))
    refused(hotline, Tampered)
    with pytest.raises(TrustError):
        hotline.kit().publish("c.example/z")


def test_the_online_key_cannot_lead_back_to_an_older_release(
    hotline: Hotline, thief: Thief
) -> None:
    """Clients with state refuse it; a fresh one gets an older, genuine release."""
    old = hotline.kit().metadata("1.demo.json")
    role = RoleFile(LIST, old, Metadata[Targets].from_bytes(old))
    thief.name(role, by=hotline.signer(ONLINE))
    refused(hotline, Rollback, "healthy")
    assert version(hotline, "fresh") == 1
    with pytest.raises(Rollback):
        hotline.kit().head()


def test_numbers_jumped_ahead_are_recovered_from_by_a_new_online_key(
    hotline: Hotline, thief: Thief
) -> None:
    """Fast-forward: the honest key is refused until the root replaces it, then all recover."""
    honest = hotline.memory.objects[layout.TIMESTAMP]
    thief.name(by=hotline.signer(ONLINE), jump=FAR)
    assert hotline.client("led ahead").versions["timestamp"] > FAR
    hotline.kit("ben").head()  # the analyst's home is led ahead as well
    hotline.memory.plant(layout.TIMESTAMP, honest)
    refused(hotline, Rollback, "led ahead")
    with pytest.raises(Rollback):
        hotline.kit("ben").head()
    hotline.change_root(RootChange(online=[hotline.key("online-2")]), "ann", "cyd")
    for name in ("healthy", "led ahead", "fresh"):
        assert version(hotline, name) == 2
    assert hotline.kit("ben").head().timestamp.version < FAR
    hotline.kit().publish("c.example/z")
    assert version(hotline, "led ahead") == 3
    assert hotline.kit().problems() == []


def test_a_stolen_online_key_that_destroyed_the_head_is_replaced_from_what_was_seen(
    hotline: Hotline, thief: Thief
) -> None:
    thief.name(thief.list(3, key()), by=hotline.signer(ONLINE), jump=5)
    refused(hotline, Tampered)
    hotline.change_root(RootChange(online=[hotline.key("online-2")]), "ann", "ben")
    for name in ("healthy", "fresh"):
        assert version(hotline, name) == 2
    hotline.kit().publish("c.example/z")
    assert version(hotline, "healthy") == 4  # 3 is burned: the thief's file lies there


def test_the_old_online_key_is_worth_nothing_after_its_rotation(
    hotline: Hotline, thief: Thief
) -> None:
    hotline.change_root(RootChange(online=[hotline.key("online-2")]), "ann", "ben")
    thief.name(by=hotline.signer(ONLINE), jump=9)
    refused(hotline, Tampered)


# A list's signing key.


def test_a_list_key_alone_is_named_by_nobody(hotline: Hotline, thief: Thief) -> None:
    """Its file costs a number, and does not become live."""
    thief.plant(thief.list(3, hotline.signer(LISTS)))
    assert version(hotline, "healthy") == 2
    hotline.kit().publish("c.example/z")
    assert version(hotline, "healthy") == 4


def test_list_and_online_key_decide_the_list_until_it_is_revoked(
    hotline: Hotline, thief: Thief
) -> None:
    """The honest limit of threshold 1: it is accepted, until targets revokes the list's key."""
    thief.name(thief.list(3, hotline.signer(LISTS)), by=hotline.signer(ONLINE))
    assert version(hotline, "healthy") == 3


def test_the_revocation_of_a_stolen_list_key_is_one_commit(hotline: Hotline, thief: Thief) -> None:
    """Live was signed by an honest key; afterwards the stolen one counts for nobody."""
    hotline.change_lists(ListChange(LIST, [hotline.key("list-2")]))
    stolen = hotline.signer("list-2")
    assert version(hotline, "healthy") == 2
    hotline.change_lists(ListChange(LIST, drop=[stolen.public_key.keyid]))
    with pytest.raises(SignaturesMissing):  # at commit
        commit.plan(
            hotline.repository().metadata,
            hotline.kit().head(),
            hotline.signer(ONLINE),
            hotline.clock(),
            changed=[thief.list(3, stolen)],
        )
    thief.head = hotline.kit().head()
    thief.name(thief.list(3, stolen), by=hotline.signer(ONLINE))  # and by clients
    refused(hotline, Tampered)


def test_a_key_that_signed_the_live_version_is_not_dropped_before_another_release(
    hotline: Hotline,
) -> None:
    """Otherwise every client would stop at the live version: refused when it is proposed."""
    hotline.change_lists(ListChange(LIST, [hotline.key("list-2")]))
    drop = ListChange(LIST, drop=[hotline.key(LISTS).keyid])
    with pytest.raises(TrustError, match=r"version 2 of demo has 0 signatures.*release"):
        hotline.propose_lists(drop)
    (hotline.folder / LEAD / "home/keys" / LISTS).rename(hotline.folder / "stolen")
    hotline.kit().publish("a.example/x\nc.example/z")
    hotline.change_lists(drop)
    assert version(hotline, "healthy") == 3


def test_a_release_by_the_dropped_key_after_the_proposal_stops_its_commit(
    hotline: Hotline,
) -> None:
    hotline.change_lists(ListChange(LIST, [hotline.key("list-2")]))
    drop = ListChange(LIST, drop=[hotline.key("list-2").keyid])
    draft = hotline.signed(hotline.propose_lists(drop), TARGETS)
    aside = hotline.folder / LEAD / "home/keys" / LISTS
    aside.rename(hotline.folder / "aside")
    hotline.kit().publish("a.example/x\nc.example/z")
    before = hotline.memory.objects
    with pytest.raises(TrustError, match="version 3 of demo has 0 signatures"):
        hotline.commit(draft)
    assert hotline.memory.objects == before


def test_a_threshold_is_not_raised_above_what_the_live_version_has(hotline: Hotline) -> None:
    hotline.change_lists(ListChange(LIST, [hotline.key("list-2")]))
    with pytest.raises(TrustError, match=r"has 1 signatures.*needs 2"):
        hotline.propose_lists(ListChange(LIST, threshold=2))


def test_approvals_of_a_revoked_key_count_no_more(tmp_path: Path) -> None:
    """Two of three release; ben's key is stolen. What it approved before is worth one less."""
    team = Team.made(tmp_path)
    team.publish("a.example/x")
    drop = ListChange(LIST, [key().public_key], [team.publics["ben"].public.keyid])
    with pytest.raises(TrustError, match=r"has 1 signatures.*needs 2.*blocklist stage demo"):
        ceremony.propose_targets(team.kit.repository(), drop)
    again = team.stage("ann")  # the list as it is
    for person in ("ann", "cyd"):
        team.approve(person, again)
    team.release(again)
    waiting = team.stage("ann", add="c.example/z")
    for person in ("ann", "ben"):
        team.approve(person, waiting)
    home = team.kit.home
    draft = ceremony.propose_targets(team.kit.repository(), drop)
    draft, _ = ceremony.sign(home, draft, ["targets"], team.kit.clock())
    enact.enact(team.kit.repository(), [draft])
    with pytest.raises(LostRace, match="the targets role changed"):
        team.release(waiting)
    with pytest.raises(LostRace, match="the targets role changed"):
        team.approve("cyd", waiting)  # nor does anybody approve what was made for other keys
    anew = team.rebase("ann", waiting)
    with pytest.raises((TrustError, BlocklistError)):
        team.approve("ben", anew)
    team.approve("ann", anew)
    with pytest.raises((TrustError, BlocklistError)) as caught:
        team.release(anew)
    assert caught.value.exit_code == Exit.SIGNATURES_MISSING
    team.approve("cyd", anew)
    assert team.release(anew).version == 3
    found = team.kit.client(tmp_path / "client").release
    assert found is not None
    assert found.version == 3


# The targets key.


def test_the_targets_key_alone_is_named_by_nobody(hotline: Hotline, thief: Thief) -> None:
    thief.plant(thief.takes_the_list(hotline.signer(TARGETS), key()))
    assert version(hotline, "healthy") == 2


def test_targets_and_online_key_take_a_list_until_the_root_replaces_them(
    hotline: Hotline, thief: Thief
) -> None:
    """Accepted, and undone by one ceremony: lists as in the last honest targets version."""
    own = key()
    top = thief.takes_the_list(hotline.signer(TARGETS), own)
    thief.name(top, thief.list(3, own), by=hotline.signer(ONLINE))
    assert version(hotline, "deceived") == 3
    hotline.kit().head()  # the publisher's home takes it for genuine, too
    replaced = RootChange(targets=[hotline.key("tgt-2")], online=[hotline.key("online-2")])
    draft = hotline.propose(replaced, delegations_of=top.version - 1)
    hotline.commit(hotline.signed(draft, "ann", "ben", "tgt-2"), key_lost=True)
    assert version(hotline, "healthy") == version(hotline, "fresh") == 2
    assert version(hotline, "deceived") == 2  # TUF forgets with the keys; what a subscriber
    with pytest.raises(Rollback):  # has installed is remembered by version
        hotline.client("deceived", known=(3, "0" * 64))
    hotline.kit().publish("a.example/x\nc.example/z")
    for name in ("healthy", "deceived", "fresh"):
        assert hotline.client(name, known=(3, "0" * 64)).release is not None
    assert version(hotline, "deceived") == 4
    assert hotline.kit().problems() == []


def test_without_the_last_honest_delegations_the_thief_would_stay(
    hotline: Hotline, thief: Thief
) -> None:
    """What people see before they sign: the thief's key is in the list."""
    own = key()
    top = thief.takes_the_list(hotline.signer(TARGETS), own)
    thief.name(top, thief.list(3, own), by=hotline.signer(ONLINE))
    draft = hotline.propose(RootChange(targets=[hotline.key("tgt-2")]))
    assert draft.targets is not None
    assert own.public_key.keyid in json.dumps(draft.targets.to_dict())
    fixed = hotline.propose(
        RootChange(targets=[hotline.key("tgt-2")]), delegations_of=top.version - 1
    )
    assert fixed.targets is not None
    assert own.public_key.keyid not in json.dumps(fixed.targets.to_dict())


# The start.


def test_another_repository_in_an_emptied_storage_is_not_followed(
    hotline: Hotline, tmp_path: Path
) -> None:
    """Whoever owns the storage can begin anew, with keys that nobody pinned."""
    own = [key() for _ in range(5)]
    files = create.first_files(
        create.Keys(
            root=[signer.public_key for signer in own[:3]],
            threshold=2,
            targets=own[3].public_key,
            online=own[4].public_key,
            root_signers=own[:2],
            targets_signer=own[3],
            online_signer=own[4],
        ),
        dev=False,
        now=hotline.clock(),
    )
    pinned = hotline.kit().root()
    emptied = Hotline(hotline.folder, MemoryStore(), hotline.clock)
    for name, data in files.items():
        emptied.memory.plant(layout.METADATA + name, data)
    emptied.memory.plant(f"{layout.METADATA}1.root.json", pinned)
    refused(emptied, Tampered)
    with pytest.raises(Tampered):
        emptied.kit("ben").head()


def test_a_refresh_by_a_machine_without_the_key_signs_nothing(hotline: Hotline) -> None:
    before = hotline.memory.objects
    hotline.clock.now += timedelta(hours=1)
    with pytest.raises(SignaturesMissing):
        upkeep.refresh(hotline.repository("ann"))
    assert hotline.memory.objects == before
