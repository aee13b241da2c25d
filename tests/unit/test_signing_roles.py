"""Who may sign what: the roles as they are built, and the rules of delegation."""

import json
from datetime import timedelta

import pytest

from signing import names, policy, roles
from signing.roles import Target
from tests.signing_kit import NOW, World, key


@pytest.mark.parametrize("name", ["demo", "a", "0", "-", "x" * 32, "targets-2", "a-b-c"])
def test_names_that_may_be_delegated(name: str) -> None:
    assert names.is_delegated_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "x" * 33, "Demo", "a.b", "a/b", "a_b", "..", "é", "a b", "demo\n", "٣"),
        *("root", "targets", "snapshot", "timestamp"),
    ],
)
def test_names_that_may_not_be_delegated(name: str) -> None:
    top = roles.new_targets(NOW)
    assert not names.is_delegated_name(name)
    with pytest.raises(ValueError, match="expected a name"):
        roles.delegate(top, 2, name, [key().public_key], 1, ["x/*"], NOW)


def test_a_delegation_is_terminating_and_bound_to_its_paths() -> None:
    top = roles.delegate(
        roles.new_targets(NOW), 2, "demo", [key().public_key], 1, ["demo/clear/*"], NOW
    )
    role = (roles.delegations(top).roles or {})["demo"]
    assert role.terminating
    assert role.paths == ["demo/clear/*"]
    assert role.is_delegated_path("demo/clear/list")
    assert not role.is_delegated_path("demo/clear/deep/list")
    assert not role.is_delegated_path("other/clear/list")


def test_delegating_leaves_the_old_role_as_it_was() -> None:
    old = roles.new_targets(NOW)
    new = roles.delegate(old, 2, "demo", [key().public_key], 1, ["demo/*"], NOW)
    assert (roles.delegated_names(old), roles.delegated_names(new)) == ([], ["demo"])
    assert (old.version, new.version) == (1, 2)


def test_a_name_is_delegated_once() -> None:
    top = roles.delegate(roles.new_targets(NOW), 2, "demo", [key().public_key], 1, ["x/*"], NOW)
    with pytest.raises(ValueError, match="already"):
        roles.delegate(top, 3, "demo", [key().public_key], 1, ["x/*"], NOW)


@pytest.mark.parametrize("threshold", [-1, 0, 3])
def test_a_threshold_that_nobody_can_reach_or_that_is_none_is_refused(threshold: int) -> None:
    keys = [key().public_key, key().public_key]
    with pytest.raises(ValueError, match="threshold"):
        roles.delegate(roles.new_targets(NOW), 2, "demo", keys, threshold, ["x/*"], NOW)


def test_one_key_given_twice_counts_once_for_the_threshold() -> None:
    public = key().public_key
    with pytest.raises(ValueError, match="threshold"):
        roles.delegate(roles.new_targets(NOW), 2, "demo", [public, public], 2, ["x/*"], NOW)


@pytest.mark.parametrize("dev", [True, False])
def test_a_repository_says_whether_its_keys_are_throw_away_ones(dev: bool) -> None:
    world = World(dev=dev)
    assert roles.is_dev(world.head().root.signed) is dev
    assert ("x-blocklist" in json.loads(world.pinned)["signed"]) is dev


@pytest.mark.parametrize("said", [None, True, "dev", [], {}, {"dev": 1}, {"dev": "true"}])
def test_only_the_exact_words_make_a_dev_repository(said: object) -> None:
    root = World(dev=False).head().root.signed
    root.unrecognized_fields["x-blocklist"] = said
    assert not roles.is_dev(root)


def test_the_first_files_follow_the_subset_that_every_implementation_reads() -> None:
    """Ed25519 and SHA-256 only, consistent snapshots, root 2 of 3, one online key for two roles."""
    world = World()
    root = world.head().root.signed
    assert root.consistent_snapshot
    assert {key.scheme for key in root.keys.values()} == {"ed25519"}
    assert (root.roles["root"].threshold, len(root.roles["root"].keyids)) == (2, 3)
    assert root.roles["snapshot"].keyids == root.roles["timestamp"].keyids
    meta = json.loads(world.get("timestamp.json"))["signed"]["meta"]["snapshot.json"]
    assert set(meta) == {"version", "length", "hashes"}
    assert set(meta["hashes"]) == {"sha256"}


def test_roles_live_as_long_as_the_policy_says() -> None:
    world = World()
    world.delegate()
    head = world.release()
    lives = {
        "root": timedelta(days=457),
        "targets": timedelta(days=457),
        "demo": timedelta(days=90),
        "snapshot": timedelta(days=7),
        "timestamp": timedelta(hours=24),
    }
    found = {role.name: role.signed.expires - NOW for role in (head.root, *head.everything())}
    assert found == lives


def test_the_share_of_life_left_goes_from_one_below_zero() -> None:
    life = timedelta(days=10)
    shares = [policy.life_left(NOW + life, life, NOW + timedelta(days=d)) for d in (0, 5, 10, 20)]
    assert shares == [1.0, 0.5, 0.0, -1.0]


def test_targets_survive_signing_and_reading() -> None:
    world = World()
    world.delegate()
    targets = [
        Target("demo/clear/list", 7, "ab" * 32, {"entries": 7}),
        Target("demo/clear/x", 0, "0" * 64),
    ]
    role = world.role("demo", 1, *targets)
    assert roles.targets_of(role.signed) == {target.path: target for target in targets}


def test_a_target_without_sha256_is_not_seen() -> None:
    world = World()
    world.delegate()
    role = world.role()
    role.signed.targets["demo/clear/list"].hashes = {"sha512": "0" * 128}
    assert roles.targets_of(role.signed) == {}


def test_file_names_are_those_of_consistent_snapshots() -> None:
    assert names.file_name("root", 3) == "3.root.json"
    assert names.meta_name("demo") == "demo.json"
