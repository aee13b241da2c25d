"""`init --dev`: a repository with throw-away keys; `list create` and `list remove`."""

import secrets
import shutil
from collections.abc import Mapping
from datetime import datetime

from securesystemslib.signer import Key
from tuf.api.metadata import Targets

from blocklist.core.addresses import is_address
from blocklist.core.entries import Entry, Feed, Kind
from blocklist.core.errors import BadUrl, InputError, UnknownList
from blocklist.core.hashing import HASH_KEY_BYTES, HashKey
from blocklist.core.hosts import bare_host_and_port, has_shape
from blocklist.core.private import ListSecret
from blocklist.publisher import guards
from blocklist.publisher.guards import GuardFiles
from blocklist.publisher.home import Home
from blocklist.publisher.racing import commit_roles, until_committed
from blocklist.publisher.repository import Repository
from blocklist.publisher.settings import Settings
from blocklist.store import layout
from blocklist.store.localfiles import local_errors, sync_folder
from signing import commit, create, keys, names
from signing.errors import LostRace, SignaturesMissing
from signing.head import Head
from signing.proposals import ListChange, next_targets
from signing.roles import delegate, delegated_names
from signing.trust import TrustState

ROOT_THRESHOLD = 2
_DEV_KEYS = ("root-1", "root-2", "root-3", "targets", "online")


def init_dev(repository: Repository) -> TrustState:
    """Start a repository with throw-away keys, or finish a start that was interrupted.

    Raises:
        InputError: This home or this storage already has a repository.
    """
    home = repository.home
    with home.lock(repository.settings.lock_seconds):
        if home.has_trust():
            raise InputError(f"{home.directory} already has a repository; nothing was changed")
        repository.writable()  # before keys are made for a storage that cannot be used
        files = home.journaled(lambda: _first_files(repository))
        try:
            create.write(repository.metadata, files)
        except LostRace as error:
            raise InputError(str(error)) from error
        trust = TrustState.pin(files[names.file_name(names.ROOT, 1)])
        home.save_trust(trust)
        return trust


def create_list(
    repository: Repository,
    name: str,
    *,
    threshold: int = 1,
    public_keys: list[Key] | None = None,
    test_host: str | None = None,
) -> ListSecret:
    """Delegate a new list and make its hash key; the first publish will be version 1.

    Args:
        repository: Where.
        name: `[a-z0-9-]{1,32}`.
        threshold: How many of the keys must sign a release.
        public_keys: Who may sign; None makes a key in this home.
        test_host: A host the hotline runs, or None for a reserved name.

    Raises:
        InputError: A bad name, threshold or test host, or a list that exists.
    """
    if not names.is_delegated_name(name):
        raise InputError("expected a list name of 1 to 32 of a-z, 0-9 and -, and no TUF role name")
    host = read_test_host(test_host or default_test_host(name))
    with repository.home.lock(repository.settings.lock_seconds):
        if name in delegated_names(repository.head().targets.signed):
            raise InputError(f"list {name!r} exists already; nothing was changed")
        _refuse_foreign_targets(repository)
        signers = len({key.keyid for key in public_keys}) if public_keys else 1
        if not 1 <= threshold <= signers:
            raise InputError(f"expected a threshold of 1 to {signers}, got {threshold}")
        publics = public_keys or [_list_key(repository.home, name).public]
        secret = make_secret(repository, name, host)
        until_committed(
            lambda taken: _delegate(repository, name, publics, threshold, taken),
            repository.settings.race_seconds,
        )
        return secret


def remove_list(repository: Repository, name: str) -> None:
    """Drop a list's delegation: nobody may sign it any more, and subscribers are told so.

    Its number stays in snapshot metadata for ever, since clients refuse metadata that forgets one.

    Raises:
        UnknownList: There is none.
        SignaturesMissing: The targets key is elsewhere.
    """
    with repository.home.lock(repository.settings.lock_seconds):
        if name not in delegated_names(repository.head().targets.signed):
            raise UnknownList(f"expected a list that exists, got {name!r}")
        _refuse_foreign_targets(repository)
        until_committed(
            lambda taken: _undelegate(repository, name, taken), repository.settings.race_seconds
        )


def _first_files(repository: Repository) -> create.Files:
    """Make throw-away keys and the first files that they sign."""
    found = _dev_keys(repository.home)
    signers = {name: key.signer(_no_passphrase) for name, key in found.items()}
    roots = [name for name in _DEV_KEYS if name.startswith("root-")]
    who = create.Keys(
        root=[found[name].public for name in roots],
        threshold=ROOT_THRESHOLD,
        targets=found["targets"].public,
        online=found["online"].public,
        root_signers=[signers[name] for name in roots[:ROOT_THRESHOLD]],
        targets_signer=signers["targets"],
        online_signer=signers["online"],
    )
    return create.first_files(who, dev=True, now=repository.clock())


def _dev_keys(home: Home) -> dict[str, keys.KeyFile]:
    """Make all keys aside and put them in place at once, so that a crash leaves none or all."""
    final = home.keys_directory
    if not final.exists():
        aside = final.with_name("keys.new")
        with local_errors("make the keys"):
            shutil.rmtree(aside, ignore_errors=True)
            for name in _DEV_KEYS:
                keys.create(aside / name)
            aside.rename(final)
            sync_folder(final.parent)  # the repository must not outlive its keys
    found = {key.path.name: key for key in keys.find(final)}
    if missing := set(_DEV_KEYS) - set(found):
        raise InputError(f"{final} has keys, but not {', '.join(sorted(missing))}")
    return {name: found[name] for name in _DEV_KEYS}


def _list_key(home: Home, name: str) -> keys.KeyFile:
    """Return the list signing key of this home, making it when there is none."""
    path = home.keys_directory / f"list-{name}"
    for key in home.key_files():
        if key.path == path:
            return key
    if path.exists():  # an interrupted attempt made it, but not its public half
        return keys.restore_public(path, home.passphrase)
    return keys.create(path)


def make_secret(repository: Repository, name: str, host: str) -> ListSecret:
    """Store the list's secrets and remember them, or take those of an interrupted attempt."""
    secret = ListSecret(name, host, (HashKey(secrets.token_bytes(HASH_KEY_BYTES)),))
    if not repository.store.put_new(layout.list_secret_key(name), secret.to_bytes()):
        secret = repository.secret(name)
        if secret.test_host != host:
            raise InputError(
                f"an interrupted attempt chose {secret.test_host} as test host; use it"
            )
    repository.home.pin_secret(secret)
    return secret


def list_paths(name: str) -> list[str]:
    """Return what a list's keys may sign: the targets of its two feeds."""
    return [layout.target_path(name, feed, "x")[:-1] + "*" for feed in Feed]


def default_test_host(name: str) -> str:
    """Return the reserved name that serves as test host where none was chosen."""
    return f"test-entry.{name}.example"


def _delegate(
    repository: Repository,
    name: str,
    publics: list[Key],
    threshold: int,
    taken: Mapping[str, int],
) -> None:
    """Commit a targets role that delegates the list's two feeds to its keys."""
    head = repository.head()
    if name in delegated_names(head.targets.signed):
        raise InputError(f"list {name!r} exists already; nothing was changed")
    now = repository.signing_time(head)
    above = repository.above(names.TARGETS, head.targets.version)
    version = commit.free_version(repository.metadata, names.TARGETS, above, taken)
    paths = list_paths(name)
    signed = delegate(head.targets.signed, version, name, publics, threshold, paths, now)
    _commit_targets(repository, head, signed, now, taken)


def _undelegate(repository: Repository, name: str, taken: Mapping[str, int]) -> None:
    """Commit a targets role without the list."""
    head = repository.head()
    now = repository.signing_time(head)
    above = repository.above(names.TARGETS, head.targets.version)
    version = commit.free_version(repository.metadata, names.TARGETS, above, taken)
    change = ListChange(name, remove=True)
    _commit_targets(
        repository, head, next_targets(head.targets.signed, version, change, now), now, taken
    )


def _commit_targets(
    repository: Repository, head: Head, signed: Targets, now: datetime, taken: Mapping[str, int]
) -> None:
    online, top = repository.online_signer(head), repository.sign_targets(head, signed)
    plan = commit.plan(repository.metadata, head, online, now, targets=top, taken=taken)
    commit_roles(repository, plan, [], online, taken)


def _refuse_foreign_targets(repository: Repository) -> None:
    """Refuse before anything is made when the targets key is elsewhere, as it should be.

    Raises:
        SignaturesMissing: Saying what to do instead.
    """
    keyids = repository.home.trust().root.signed.roles[names.TARGETS].keyids
    if not {key.public.keyid for key in repository.home.key_files()} & set(keyids):
        raise SignaturesMissing(
            "the targets key is not in this home: propose it to those who hold it "
            "(`blocklist trust propose DRAFT --new-list` or `--drop-list`)"
        )


def read_test_host(text: str) -> str:
    """Return the canonical name of a test host.

    Guards never report the test entry, which may be on a host that the organisation protects. So
    one that the lists refuse which ship is refused here: a draft could name any host for it.
    """
    try:
        host, ignored = bare_host_and_port(text)
    except BadUrl as error:
        raise InputError(f"expected a host name as test host: {error}") from error
    if ignored or is_address(host) or "." not in host or not has_shape(host):
        raise InputError("expected a bare host name as test host, such as test.example")
    _, refused = guards.leave_out([Entry(Kind.HOST, host).line], GuardFiles.load(Settings()))
    if refused:
        raise InputError(f"expected a harmless test host, got one of others ({', '.join(refused)})")
    return host


def _no_passphrase(_: object) -> bytes:
    raise InputError("throw-away keys have no passphrase")
