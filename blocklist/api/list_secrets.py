"""The secrets of a list as the API needs them: hash keys and test host (`private/lists/`)."""

from blocklist.api.live import Live, NotServable
from blocklist.core.entries import Feed
from blocklist.core.errors import FeedError
from blocklist.core.hashing import HashKey
from blocklist.core.private import ListSecret
from blocklist.store import layout
from blocklist.store.port import Store

MAX_SECRET_BYTES = 65_536


def read_secret(store: Store, list_name: str) -> ListSecret:
    """Return the secrets of a list that exists.

    Raises:
        NotServable: They are missing, damaged, or those of another list.
        StoreError: The storage failed.
    """
    stored = store.get(layout.list_secret_key(list_name), limit=MAX_SECRET_BYTES)
    try:
        secret = ListSecret.from_bytes(stored.data) if stored is not None else None
    except FeedError:
        secret = None  # the cause could quote a secret
    if secret is None or secret.name != list_name:
        raise NotServable(f"the secrets of list {list_name} are missing or damaged")
    return secret


def current_key(live: Live, secret: ListSecret) -> HashKey:
    """Return the hash key of the live version; before the first release the one that it will have.

    Raises:
        NotServable: The signed one is not among the secrets; somebody else wrote them.
    """
    release = live.release(secret.name, Feed.HASHED)
    if release is None:
        return secret.first_key
    key = secret.key_of(release.facts.hash_key_id)
    if key is None:
        raise NotServable(f"the hash keys of list {secret.name} are not those of its live version")
    return key


def announced_key(live: Live, secret: ListSecret) -> HashKey | None:
    """Return the hash key that the live version announces, None when that is none or is missing."""
    release = live.release(secret.name, Feed.HASHED)
    if release is None or release.facts.next_hash_key is None:
        return None
    return secret.key_of(release.facts.next_hash_key[0])
