"""`audit verify`: of a list in the storage, and of a bundle without one."""

import hashlib

from tuf.api.metadata import Root

from blocklist.core.errors import InputError
from blocklist.publisher.audit.bundle import Bundle
from blocklist.publisher.audit.report import Report
from blocklist.publisher.audit.trust import Trust, follow_roots
from blocklist.publisher.audit.walk import Walk, signed_alone
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from signing import names, policy, verify
from signing.roles import RoleFile


def audit_list(repository: Repository, name: str) -> Report:
    """Audit every release of a list in the storage.

    Raises:
        UnknownList: There is no such list.
        TrustError: The head itself cannot be verified.
        StoreError: The storage cannot be read.
    """
    head = repository.head([name])
    report = Report(name)
    roots: list[RoleFile[Root]] = [head.root]
    with report.noting(0, "the roots"):
        roots = follow_roots(repository.store, head.root)
    report.count("roots", len(roots))
    trust = Trust(repository.store, roots, head.root.version)
    if name in head.roles:
        Walk(repository.store, trust, report).run(head.roles[name])
    return report


def audit_bundle(bundle: Bundle, pinned: RoleFile[Root]) -> Report:
    """Audit a bundle.

    Its newest release has to be signed by keys to which the pinned root leads.

    Raises:
        Tampered, MalformedFeed, DigestMismatch: The pinned root does not lead to it.
    """
    of = bundle.manifest
    report = Report(of.list)
    roots = follow_roots(bundle, pinned)
    report.count("roots", len(roots))
    trust = Trust(bundle, roots, pinned.version)
    newest = signed_alone(bundle, trust, of.list, of.last, proven=True)
    Walk(bundle, trust, report, of.first).run(newest)
    led = report.first == of.first or bool(report.found)
    report.expect(led, of.first, "the releases do not lead to it")
    return report


def pinned_root(bundle: Bundle, fingerprint: str) -> RoleFile[Root]:
    """Return the root in a bundle that has this fingerprint: its digest, as people compare it.

    Raises:
        InputError: None has.
    """
    version = 1
    while True:
        key = layout.METADATA + names.file_name(names.ROOT, version)
        found = bundle.get(key, limit=policy.MAX_ROOT_BYTES)
        if found is None:
            raise InputError(
                "expected a root with the fingerprint given, none in the bundle has it"
            )
        if hashlib.sha256(found.data).hexdigest() == fingerprint:
            return verify.self_signed_root(found.data)
        version += 1
