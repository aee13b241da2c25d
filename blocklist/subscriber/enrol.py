"""Enrol: accept the one file that `subscriber add` made, after a person compared its fingerprint.

The root in it is the anchor of all trust, so it must be signed by its own keys, be the one of the
fingerprint where one is given, and not come from throw-away keys unless that is said aloud.
Enrolling again adds lists and replaces sources and token; the root must be of the same chain.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

from blocklist.core.enrolment import EnrolledList, Enrolment
from blocklist.core.entries import Feed
from blocklist.core.errors import InputError, LocalError
from blocklist.subscriber import throttle
from blocklist.subscriber.sources import exposes_credentials, open_source
from blocklist.subscriber.state import State
from signing import names
from signing.errors import Malformed, Tampered
from signing.roles import is_dev
from signing.verify import self_signed_root

_GROUP = 4  # hex digits of a fingerprint that people read in one breath
_ANOTHER_ROOT = (
    "expected a root of the repository that is enrolled here, got another one: "
    "pull first if the publisher has replaced the root, or use another state directory"
)
_SEPARATORS = str.maketrans("", "", " :\t\n")


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What was accepted.

    Attributes:
        name: The subscriber's name.
        lists: Every (list, feed) enrolled in the state now.
        fingerprint: Of the root in the file, hex.
        dev: The repository's keys are throw-away ones.
        warnings: Lines for people.
    """

    name: str
    lists: tuple[tuple[str, Feed], ...]
    fingerprint: str
    dev: bool
    warnings: tuple[str, ...]


def root_fingerprint(root: bytes) -> str:
    """Return the hex SHA-256 of the exact root bytes."""
    return hashlib.sha256(root).hexdigest()


def fingerprint_text(digest: str) -> str:
    """Return a fingerprint in groups of four, to be read aloud."""
    return " ".join(digest[at : at + _GROUP] for at in range(0, len(digest), _GROUP))


def enrol(
    state: State,
    enrolment: Enrolment,
    *,
    accept_dev: bool = False,
    fingerprint: str | None = None,
    now: datetime,
) -> Enrolled:
    """Keep an enrolment in the state, all of it or nothing.

    Args:
        state: Where.
        enrolment: As read from the file.
        accept_dev: Accept a repository whose keys are throw-away ones.
        fingerprint: What the root must have, as 64 hex digits; blanks, colons and case are ignored.
        now: The time.

    Raises:
        InputError: It cannot be used, or is not what was expected.
        LocalError, Busy: The state cannot be written.
    """
    digest, dev, warnings = _accepted_root(enrolment.root, accept_dev, fingerprint, now)
    warnings += _usable(enrolment)
    state.prepare()
    with state.locked():
        held = _held(state, enrolment)
        merged = enrolment if held is None else _merged(state, held, enrolment)
        state.write_enrolment(merged)
        throttle.forget(state.directory)
    lists = tuple((item.name, feed) for item in merged.lists.values() for feed in item.feeds)
    return Enrolled(merged.name, lists, digest, dev, tuple(warnings))


def _accepted_root(
    root: bytes, accept_dev: bool, wanted: str | None, now: datetime
) -> tuple[str, bool, list[str]]:
    try:
        role = self_signed_root(root)
    except (Malformed, Tampered) as error:
        raise InputError(f"the enrolment's root cannot be trusted: {error}") from error
    digest = root_fingerprint(root)
    if wanted is not None and wanted.translate(_SEPARATORS).lower() != digest:
        raise InputError("expected a root with the fingerprint given, got another: do not use it")
    dev = is_dev(role.signed)
    if dev and not accept_dev:
        raise InputError("the repository is for development (throw-away keys); use --accept-dev")
    warnings = []
    if role.signed.is_expired(now):
        warnings.append("the enrolment's root has expired: it only works if a newer one follows it")
    return digest, dev, warnings


def _usable(enrolment: Enrolment) -> list[str]:
    """Check everything that a pull relies on; return warnings."""
    if not enrolment.sources or not enrolment.lists:
        raise InputError("expected an enrolment with at least one source and one list")
    for item in enrolment.lists.values():
        if not names.is_delegated_name(item.name):
            raise InputError("expected list names of 1 to 32 of a-z, 0-9 and -, got another")
        if not item.feeds:
            raise InputError(f"expected at least one feed of {item.name}, got none")
        if Feed.HASHED in item.feeds and not item.hash_keys:
            raise InputError(f"expected a hash key for the hashed feed of {item.name}, got none")
    opened = [open_source(source, enrolment.token) for source in enrolment.sources]
    return [
        f"the credentials travel unencrypted to {source.place}: use https"
        for source in opened
        if exposes_credentials(source)
    ]


def _held(state: State, new: Enrolment) -> Enrolment | None:
    """Return the enrolment held; for one that is damaged the new one may stand in.

    What was pulled then tells whether it is the same repository.
    """
    try:
        return state.find_enrolment()
    except LocalError as error:
        if not isinstance(error.__cause__, InputError):  # not damaged, but not to be read
            raise
    if state.trust.exists() and not state.knows_root(new.root):
        raise InputError(_ANOTHER_ROOT)
    return None


def _merged(state: State, held: Enrolment, new: Enrolment) -> Enrolment:
    if new.root != held.root and not state.knows_root(new.root):
        raise InputError(_ANOTHER_ROOT)
    lists = dict(held.lists)
    for name, item in new.lists.items():
        lists[name] = _joined(lists[name], item) if name in lists else item
    return replace(new, root=held.root, lists=lists)


def _joined(held: EnrolledList, new: EnrolledList) -> EnrolledList:
    """Return a list with what both enrolments give; older hash keys may still be in force."""
    feeds = tuple(dict.fromkeys((*held.feeds, *new.feeds)))
    return replace(new, feeds=feeds, hash_keys={**held.hash_keys, **new.hash_keys})
