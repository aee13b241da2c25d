"""Where every object lies: the only place that spells object keys.

    feed/metadata/N.root.json  N.targets.json  M.<list>.json  N.snapshot.json     immutable
    feed/metadata/timestamp.json                                                  mutable, alone
    feed/targets/<list>/<feed>/<sha256>.<name>                                    immutable
    private/records/<list>/<sha256>.json.gz                                       immutable
    private/candidates/<list>/<sha256>.zip                                        immutable
    private/approvals/<list>/<sha256 of the candidate>/<keyid>.json               immutable
    private/voids/<list>/<sha256 of the candidate>.json                           immutable
    private/releases/<list>/<sha256 of the role file>.json                        immutable
    private/lists/<list>.json  private/enrolments/<sha256>.json                   secrets
    private/gc/running.json                                                       while gc runs
    private/probe/<random>                                                        gone in a moment

`feed/` is what subscribers may be given, `private/` never leaves. <name> is `list`, `snapshot` or
`delta-<from>`; names of metadata files are those of `signing.names`. Source: docs/spec.md, 10;
a target's key is its path with the digest before the name (TUF 1.0.31, 6.2, consistent snapshots).
"""

import re

from blocklist.core.entries import Feed
from blocklist.core.errors import InputError
from blocklist.store.port import is_segment

FEED = "feed/"
PRIVATE = "private/"
METADATA = "feed/metadata/"
TIMESTAMP = "feed/metadata/timestamp.json"
TARGETS = "feed/targets/"
RECORDS = "private/records/"
CANDIDATES = "private/candidates/"
APPROVALS = "private/approvals/"
VOIDS = "private/voids/"
RELEASES = "private/releases/"
LIST_SECRETS = "private/lists/"
ENROLMENTS = "private/enrolments/"
PROBES = "private/probe/"
GC = "private/gc/"
GC_RUNNING = "private/gc/running.json"

_LIST_NAME = re.compile(r"[a-z0-9-]{1,32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FEEDS = frozenset(feed.value for feed in Feed)


def parse_candidate_key(key: str) -> tuple[str, str] | None:
    """Return list and digest of a candidate's key; None for others."""
    return _parsed(key, CANDIDATES, ".zip")


def parse_approval_key(key: str) -> tuple[str, str, str] | None:
    """Return list, candidate and key id of an approval's key; None for others."""
    folder, _, file = key.rpartition("/")
    found = _parsed(folder, APPROVALS, "")
    keyid = file.removesuffix(".json")
    if found is None or not _DIGEST.fullmatch(keyid) or not file.endswith(".json"):
        return None
    return (*found, keyid)


def _parsed(key: str, prefix: str, suffix: str) -> tuple[str, str] | None:
    """Return list and digest of a key `<prefix><list>/<digest><suffix>`."""
    if not key.startswith(prefix) or not key.endswith(suffix):
        return None
    name, _, digest = key[len(prefix) : len(key) - len(suffix)].partition("/")
    return (name, digest) if _LIST_NAME.fullmatch(name) and _DIGEST.fullmatch(digest) else None


def target_path(list_name: str, feed: Feed, name: str) -> str:
    """Return the path that signed metadata gives a target: `<list>/<feed>/<name>`."""
    path = f"{list_name}/{feed}/{name}"
    _split_path(path)
    return path


def target_key(path: str, sha256: str) -> str:
    """Return the key of a target's object.

    Args:
        path: `<list>/<feed>/<name>`, as in signed metadata.
        sha256: Digest of the object, lower-case hex.

    Raises:
        InputError: Another shape of either.
    """
    list_name, feed, name = _split_path(path)
    return f"{TARGETS}{list_name}/{feed}/{_checked_digest(sha256)}.{name}"


def parse_target_key(key: str) -> tuple[str, str] | None:
    """Return path and digest of a target's key, the reverse of `target_key`; None for others."""
    folder, _, file = key.removeprefix(TARGETS).rpartition("/")
    sha256, _, name = file.partition(".")
    path = f"{folder}/{name}"
    try:
        return (path, sha256) if target_key(path, sha256) == key else None
    except InputError:
        return None


def targets_prefix(list_name: str, feed: Feed) -> str:
    """Return what the keys of all targets of a list's feed begin with."""
    return f"{TARGETS}{_checked_list(list_name)}/{feed}/"


def record_key(list_name: str, digest: str) -> str:
    """Return the key of the private record of a release, named by the record's digest."""
    return f"{records_prefix(list_name)}{_checked_digest(digest)}.json.gz"


def records_prefix(list_name: str) -> str:
    """Return what the keys of all records of a list begin with."""
    return f"{RECORDS}{_checked_list(list_name)}/"


def candidates_prefix(list_name: str) -> str:
    """Return what the keys of all candidates of a list begin with."""
    return f"{CANDIDATES}{_checked_list(list_name)}/"


def candidate_key(list_name: str, digest: str) -> str:
    """Return the key of a candidate, named by its digest."""
    return f"{candidates_prefix(list_name)}{_checked_digest(digest)}.zip"


def approvals_prefix(list_name: str, candidate: str) -> str:
    """Return what the keys of all approvals of a candidate begin with."""
    return f"{APPROVALS}{_checked_list(list_name)}/{_checked_digest(candidate)}/"


def approval_key(list_name: str, candidate: str, keyid: str) -> str:
    """Return the key of one person's approval of a candidate."""
    return f"{approvals_prefix(list_name, candidate)}{_checked_digest(keyid)}.json"


def void_key(list_name: str, candidate: str) -> str:
    """Return the key of the mark that a candidate was withdrawn before its release."""
    return f"{VOIDS}{_checked_list(list_name)}/{_checked_digest(candidate)}.json"


def release_key(list_name: str, role_digest: str) -> str:
    """Return the key of the account of a release, named by the digest of its role file."""
    return f"{RELEASES}{_checked_list(list_name)}/{_checked_digest(role_digest)}.json"


def list_secret_key(list_name: str) -> str:
    """Return the key of a list's private settings: hash keys and test host."""
    return f"{LIST_SECRETS}{_checked_list(list_name)}.json"


def enrolment_key(token_digest: str) -> str:
    """Return the key of a subscriber's enrolment, named by the digest of the token."""
    return f"{ENROLMENTS}{_checked_digest(token_digest)}.json"


def _split_path(path: str) -> tuple[str, str, str]:
    parts = path.split("/")
    if len(parts) != 3 or parts[1] not in _FEEDS or not is_segment(parts[2]):
        raise InputError("expected a target path <list>/<feed>/<name>, got another shape")
    return _checked_list(parts[0]), parts[1], parts[2]


def _checked_list(name: str) -> str:
    if not _LIST_NAME.fullmatch(name):
        raise InputError("expected a list name of 1 to 32 characters a-z 0-9 -, got another shape")
    return name


def _checked_digest(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise InputError("expected a SHA-256 digest in lower-case hex, got another shape")
    return digest
