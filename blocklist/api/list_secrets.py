"""The secrets of a list as the API needs them: hash keys and test host (`private/lists/`)."""

from blocklist.api.live import NotServable
from blocklist.core.errors import FeedError
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
