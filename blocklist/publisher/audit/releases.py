"""The checks of one release: its record against its role file, its account against both."""

from tuf.api.metadata import Targets

from blocklist.core.entries import Feed
from blocklist.core.release import read_release
from blocklist.publisher.accounts import Account
from blocklist.publisher.audit.report import Report
from blocklist.publisher.audit.trust import Trust
from blocklist.publisher.chain import Link
from blocklist.publisher.records import Record
from signing import verify
from signing.roles import RoleFile, delegations, targets_of


def check_record(report: Report, link: Link, record: Record) -> None:
    """See that a record says what the role file says, which is what names it."""
    name, version, facts = link.role.name, link.version, link.facts
    hashed = read_release(name, Feed.HASHED, version, targets_of(link.role.signed))
    digests = {
        Feed.CLEAR.value: link.clear.content.sha256,
        Feed.HASHED.value: hashed.content.sha256,
    }
    said = (hashed.facts.entries, hashed.facts.created, hashed.facts.record, hashed.facts.prev)
    report.expect(
        said == (facts.entries, facts.created, facts.record, facts.prev),
        version,
        "its two feeds do not say the same",
    )
    for good, what in (
        (record.list == name, "is of another list"),
        (record.base == facts.prev, "names another release as the one before it"),
        (record.entries == facts.entries, "has another number of entries"),
        (record.created == facts.created, "has another time"),
        (record.digests == digests, "has other digests of the list"),
    ):
        report.expect(good, version, f"its record {what} than signed metadata")


def check_signatures(
    report: Report, link: Link, record: Record, account: Account | None, trust: Trust
) -> None:
    """See that enough keys signed a release, and that they are those of who approved it.

    Args:
        report: Where to note what is wrong.
        link: The release.
        record: Its record, which names the keys.
        account: Who approved it, where that is known.
        trust: Who was to sign.
    """
    if record.delegation is None:
        report.problem(link.version, "its record does not say whose keys were to sign it")
        return
    with report.noting(link.version, "its signatures"):
        top = trust.targets(record.delegation)
        signers = verify.signers(top, link.role)
        report.count("signatures", len(signers))
        if account is not None:
            _approved(report, link, record, account, top)
            for keyid in signers.keys() - {approval.keyid for approval in account.approvals}:
                report.problem(link.version, f"{keyid[:16]} signed it, and no approval tells that")


def check_account(
    report: Report, link: Link, account: Account, trust: Trust, *, sealed: bool
) -> bool:
    """See that an account is of this release, and that an online key signed it.

    Returns:
        Whether it is of this release.
    """
    of = (account.list, account.version, account.role)
    if of != (link.role.name, link.version, link.role.digest):
        report.problem(link.version, "its account is of another release")
        return False
    report.count("accounts")
    online = trust.online_key(account.keyid)
    if online is None:
        report.problem(link.version, "its account is signed by a key that was never online")
        return True
    key, proven = online
    with report.noting(link.version, "its account"):
        account.verify_statement(key)
    if not sealed and not proven:
        report.notes.append(
            f"the account of version {link.version} is signed by an online key that was replaced, "
            "and nothing seals it"
        )
    return True


def _approved(
    report: Report, link: Link, record: Record, account: Account, top: RoleFile[Targets]
) -> None:
    version, signatures = link.version, link.role.metadata.signatures
    keyids = [approval.keyid for approval in account.approvals]
    report.expect(len(set(keyids)) == len(keyids), version, "one key approved it twice")
    known = delegations(top.signed)
    may = set((known.roles or {})[link.role.name].keyids)
    for approval in account.approvals:
        who = f"the approval of {approval.keyid[:16]}"
        if approval.keyid not in may:
            report.problem(version, f"{who} is by a key that may not sign")
            continue
        with report.noting(version, who):
            approval.verify_statement(known.keys[approval.keyid])
        report.count("approvals")
        of = (approval.list, approval.version, approval.candidate)
        report.expect(
            of == (account.list, account.version, account.candidate),
            version,
            f"{who} is of another candidate",
        )
        signature = signatures.get(approval.keyid)
        report.expect(
            signature is not None and signature.signature == approval.signature,
            version,
            f"{who} has another signature than the role file",
        )
        report.expect(
            _overridden(record) <= set(approval.allowed),
            version,
            f"{who} does not allow every guard that was overridden",
        )


def _overridden(record: Record) -> set[str]:
    return {str(item.get("guard")) for item in record.overrides}
