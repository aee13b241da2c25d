"""`stage`: make a candidate, which others review, approve and release.

Candidates are kept in the storage under `private/`, each by its digest. They are never changed:
`rebase` makes another one, without approvals, and voids the old one. A void mark is remembered in
this home as well, so that whoever deletes it from the storage does not bring the candidate back.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from blocklist.core import documents
from blocklist.core.errors import DigestMismatch, InputError, MalformedFeed, TooLarge
from blocklist.core.sources import Source
from blocklist.publisher.assemble import Assembled, read_base
from blocklist.publisher.curation import candidate as candidates
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.preparing import expect_base, made_of, prepare
from blocklist.publisher.racing import before_commit
from blocklist.publisher.records import Record
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import PUBLISH, ROLLBACK, Options, Outcome, Request
from blocklist.store import layout
from signing import commit

MIN_PREFIX = 8  # hexadecimal digits that name a candidate
MAX_VOID_BYTES = 65_536
FORMAT = 1
_DIGEST_CHARS = 64


@dataclass(frozen=True, slots=True)
class Staged:
    """A candidate that was made.

    Attributes:
        digest: By which it is known.
        data: Its file.
        assembled: The version that it would be.
        outcome: The lines that come and go.
        unchanged: It would sign the list as it is again.
    """

    digest: str
    data: bytes
    assembled: Assembled
    outcome: Outcome
    unchanged: bool


def stage(
    repository: Repository,
    request: Request,
    *,
    keep: bool = True,
    replaces: str | None = None,
) -> Staged:
    """Make a candidate of a request, and keep it in the storage.

    Args:
        repository: Where.
        request: What is asked for.
        keep: Whether to keep it in the storage; else it is only returned, to travel as a file.
        replaces: Digest of the candidate that it is made from anew; that one is voided.

    Raises:
        UnknownList, InputError, BadSource: The request is wrong.
        GuardRefused: It would do harm.
        LostRace: A whole list that was computed from another version than the newest.
    """
    with repository.home.lock(repository.settings.lock_seconds):
        base = read_base(repository, request.list)
        expect_base(request, base)
        prepared = prepare(repository, request, base)
        above = repository.above(base.name, base.version or 0)
        version = commit.free_version(repository.metadata, base.name, above)
        made = made_of(repository, prepared, version)
        data = Candidate.of(made).to_bytes()
        digest = candidates.digest(data)
        if keep and not request.options.dry_run:
            key = layout.candidate_key(base.name, digest)
            with before_commit():
                repository.store.put_new(key, data)
            if replaces is not None:
                void(repository, base.name, replaces, f"made anew as {digest[:MIN_PREFIX]}")
    return Staged(digest, data, made, prepared.outcome, prepared.unchanged)


def rebased(data: bytes, options: Options) -> Request:
    """Return the request that makes the changes of a candidate again, on the newest release.

    Args:
        data: The candidate's file.
        options: Which guards are overridden besides those that it overrides, and why.

    Raises:
        InputError: It withdraws or changes a hash key: that is asked for anew instead.
    """
    old = Candidate.from_bytes(data)
    record = Record.from_bytes(old.record)
    if record.operation not in (PUBLISH, ROLLBACK):
        raise InputError(
            f"expected a candidate that publishes; ask for the {record.operation} anew"
        )
    told = {str(item["guard"]): str(item["reason"]) for item in record.overrides}
    options = replace(
        options,
        allowed={**told, **options.allowed},
        reason=options.reason or record.reason,
        ignore_missing=True,
    )
    add, remove = (_source(lines, record.reasons) for lines in (record.added, record.removed))
    return Request(
        old.list, None, (add,), (remove,), options, record.source, operation=record.operation
    )


def find(repository: Repository, list_name: str, name: str) -> tuple[str, bytes]:
    """Return digest and file of a candidate in the storage.

    Args:
        repository: Where.
        list_name: Its list.
        name: Its digest, or at least eight digits from its beginning.

    Raises:
        InputError: There is none, or several begin like that.
        DigestMismatch: It was altered.
    """
    name = name.lower()
    if len(name) < MIN_PREFIX or len(name) > _DIGEST_CHARS or not _is_hex(name):
        raise InputError(f"expected a candidate by {MIN_PREFIX} or more digits of its digest")
    found = [digest for digest in kept(repository, list_name) if digest.startswith(name)]
    if len(found) != 1:
        got = f"{len(found)} candidates" if found else "none"
        raise InputError(f"expected one candidate of {list_name} that begins {name}, found {got}")
    return found[0], read(repository, list_name, found[0])


def read(repository: Repository, list_name: str, digest: str) -> bytes:
    """Return the file of a candidate in the storage, by its digest.

    Raises:
        InputError: There is none.
        DigestMismatch: It was altered.
    """
    name = digest[:MIN_PREFIX]
    stored = repository.store.get(layout.candidate_key(list_name, digest))
    if stored is None:
        raise InputError(f"the candidate {name} of {list_name} was removed meanwhile")
    if candidates.digest(stored.data) != digest:
        raise DigestMismatch(f"the candidate {name} of {list_name} was altered in the storage")
    return stored.data


def kept(repository: Repository, list_name: str) -> dict[str, datetime]:
    """Return the digests of all candidates of a list that the storage holds, with their age."""
    prefix = layout.candidates_prefix(list_name)
    listed = {
        one.key.removeprefix(prefix).partition(".")[0]: one.modified
        for one in repository.store.list(prefix)
    }
    return {
        digest: modified
        for digest, modified in listed.items()
        if len(digest) == _DIGEST_CHARS and _is_hex(digest)
    }


@dataclass(frozen=True, slots=True)
class Void:
    """That a candidate must not be released.

    Attributes:
        who: Account and machine that voided it.
        created: When.
        reason: Why.
    """

    who: str
    created: datetime
    reason: str

    def to_bytes(self) -> bytes:
        """Return the mark as JSON."""
        document = {
            "format": FORMAT,
            "who": self.who,
            "created": documents.format_time(self.created),
            "reason": self.reason,
        }
        return (json.dumps(document, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Void":
        """Read the mark; one that cannot be read counts all the same.

        Raises:
            MalformedFeed: It is damaged.
        """
        document = documents.parse("a void mark", data)
        return cls(
            documents.field(document, "who", str),
            documents.moment(document, "created"),
            documents.field(document, "reason", str),
        )


def void(repository: Repository, list_name: str, digest: str, reason: str) -> Void:
    """Mark a candidate so that nobody approves or releases it; here it is remembered for ever."""
    mark = Void(repository.who, repository.clock(), reason)
    repository.home.remember_void(digest)
    with before_commit():
        repository.store.put_new(layout.void_key(list_name, digest), mark.to_bytes())
    return mark


def voided(repository: Repository, list_name: str, digest: str) -> Void | None:
    """Return the mark of a candidate, None when it has none; a mark that is met is remembered."""
    try:
        stored = repository.store.get(layout.void_key(list_name, digest), limit=MAX_VOID_BYTES)
    except TooLarge:
        repository.home.remember_void(digest)
        return Void("unknown", repository.clock(), "its mark is damaged")
    if stored is None:
        if not repository.home.knows_void(digest):
            return None
        return Void("unknown", repository.clock(), "its mark was removed from the storage")
    repository.home.remember_void(digest)
    try:
        return Void.from_bytes(stored.data)
    except MalformedFeed:
        return Void("unknown", repository.clock(), "its mark is damaged")


def expect_live(repository: Repository, list_name: str, digest: str) -> None:
    """Refuse a candidate that was voided.

    Raises:
        InputError: It was, by whom and why.
    """
    mark = voided(repository, list_name, digest)
    if mark is not None:
        raise InputError(
            f"the candidate {digest[:MIN_PREFIX]} of {list_name} was voided by {mark.who}: "
            f"{mark.reason}"
        )


def digest_of(data: bytes) -> str:
    """Return the digest by which a candidate's file is known."""
    return candidates.digest(data)


def _source(lines: tuple[str, ...], told: Mapping[str, str]) -> Source:
    encoded = {line.encode(): told.get(line) for line in lines}
    given = {line: text for line, text in encoded.items() if text is not None}
    return Source(encoded.keys(), given, 0, {}, (), ())


def _is_hex(text: str) -> bool:
    return set(text) <= set("0123456789abcdef")
