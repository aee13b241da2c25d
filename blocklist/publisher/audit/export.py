"""`audit export`: the releases of a range with all that proves them, in one bundle."""

import hashlib

from tuf.api.metadata import Targets

from blocklist.core.errors import InputError, MalformedFeed
from blocklist.publisher import chain, records
from blocklist.publisher.accounts import MAX_ACCOUNT_BYTES
from blocklist.publisher.audit.bundle import MANIFEST, Manifest, Writer, new_bundle
from blocklist.publisher.audit.trust import Reference, follow_roots
from blocklist.publisher.chain import Link
from blocklist.publisher.records import Record
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from signing import names, policy
from signing.roles import RoleFile


def export(
    repository: Repository, name: str, out: str, *, first: int = 1, last: int | None = None
) -> Manifest:
    """Write the releases from one version to another (None: the newest) into a new bundle.

    Raises:
        UnknownList, InputError: There is no such list, or no release in this range.
        MalformedFeed, DigestMismatch, Tampered: Something of them is missing or altered.
        LocalError: The file exists, or the disk refuses.
    """
    head = repository.head([name])
    if name not in head.roles:
        raise InputError(f"expected a list with a release, {name} has none")
    newest = head.roles[name].version
    last = newest if last is None else last
    if not 1 <= first <= last <= newest:
        raise InputError(f"expected versions from 1 to {newest}, the lower one first")
    with new_bundle(out) as writer, chain.Reads(repository.store) as reads:
        for root in follow_roots(repository.store, head.root):
            file = names.file_name(names.ROOT, root.version)
            writer.put(layout.METADATA + file, root.data)
        releases = _releases(repository, reads, writer, head.roles[name], range(first, last + 1))
        if not releases:
            raise InputError(f"expected a release from version {first} to {last}, there is none")
        _records(repository, reads, writer, name, releases)
        manifest = Manifest(name, releases[-1][0], releases[0][0])
        writer.put(MANIFEST, manifest.to_bytes())
    return manifest


def _releases(
    repository: Repository,
    reads: chain.Reads,
    writer: Writer,
    newest: RoleFile[Targets],
    wanted: range,
) -> list[tuple[int, str]]:
    """Put in role files, and the account of the last; return what `chain.record_bytes` takes."""
    found: list[tuple[int, str]] = []
    newer: Link | None = None
    for link in chain.walk(reads, newest):
        if link.version < wanted.start:
            break
        if link.version in wanted:
            if not found:
                _account(repository, writer, link, newer)
            writer.put(chain.role_key(link.role.name, link.version), link.role.data)
            found.append((link.version, link.facts.record))
        newer = link
    return found


def _records(
    repository: Repository,
    reads: chain.Reads,
    writer: Writer,
    name: str,
    releases: list[tuple[int, str]],
) -> None:
    """Put in records, and the targets roles that they name."""
    done: set[Reference | None] = {None}
    for _, data in chain.record_bytes(reads, name, releases):
        writer.put(layout.record_key(name, records.digest(data)), data)
        delegation = Record.from_bytes(data).delegation
        if delegation is not None and delegation not in done:
            done.add(delegation)
            _targets(repository, writer, delegation)


def _targets(repository: Repository, writer: Writer, reference: Reference) -> None:
    version, digest = reference
    file = names.file_name(names.TARGETS, version)
    found = repository.metadata.get(file, limit=policy.MAX_TARGETS_BYTES)
    if found is None or hashlib.sha256(found.data).hexdigest() != digest:
        raise MalformedFeed(f"expected {file}, it is missing or another one; see `audit verify`")
    writer.put(layout.METADATA + file, found.data)


def _account(repository: Repository, writer: Writer, link: Link, newer: Link | None) -> None:
    """Put in who approved and released a release: by the record after it, or as it lies there.

    That of the others stands in the records.
    """
    name = link.role.name
    key = layout.release_key(name, link.role.digest)
    if newer is not None:
        previous = records.read(repository.store, name, newer.facts.record).previous
        data = previous.to_bytes() if previous is not None else None
    else:
        found = repository.store.get(key, limit=MAX_ACCOUNT_BYTES)
        data = found.data if found is not None else None
    if data is not None:
        writer.put(key, data)
