"""The account of the newest release, which no record seals yet: who approved it, who made it live.

Whoever writes to the storage could put another one in its place, for the next record to seal for
ever. So it counts only when a key signs it that is online, or was before it was replaced.
"""

from blocklist.core.errors import FeedError, TooLarge
from blocklist.publisher.accounts import MAX_ACCOUNT_BYTES, Account
from blocklist.publisher.audit.trust import Trust, follow_roots
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from signing.errors import TrustError
from signing.head import Head


def live_account(repository: Repository, head: Head, name: str) -> Account | None:
    """Return the account of the newest release of a list.

    Returns:
        None when there is no release, or its account was lost or damaged or is not signed:
        `audit verify` says which.

    Raises:
        StoreUnreachable: The storage did not answer.
    """
    role = head.roles.get(name)
    if role is None:
        return None
    try:
        found = repository.store.get(layout.release_key(name, role.digest), limit=MAX_ACCOUNT_BYTES)
        account = Account.from_bytes(found.data) if found is not None else None
        if account is None or not _of(account, name, role.version, role.digest):
            return None
        trust = Trust(repository.store, [head.root], head.root.version)
        online = trust.online_key(account.keyid)
        if online is None:
            roots = follow_roots(repository.store, head.root)
            trust = Trust(repository.store, roots, head.root.version)
            online = trust.online_key(account.keyid)
        if online is None:
            return None
        account.verify_statement(online[0])
    except (FeedError, TooLarge, TrustError):
        return None
    return account


def _of(account: Account, name: str, version: int, role: str) -> bool:
    return (account.list, account.version, account.role) == (name, version, role)
