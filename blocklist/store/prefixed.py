"""A view of one folder of a store, for who knows only the names in it (`3.root.json`)."""

from collections.abc import Iterator
from dataclasses import replace

from blocklist.core.errors import InputError, LocalError, StoreError, StoreUnreachable
from blocklist.store.port import (
    DEFAULT_OBJECT_LIMIT,
    Listed,
    Object,
    Store,
    validate_key,
    validate_prefix,
)

_GLANCE_BYTES = 1 << 20


class Prefixed:
    """A `Store` whose keys are those of `store` below `prefix`; the same contract.

    Args:
        store: Where the objects are.
        prefix: A folder of it, ending in a slash, such as `feed/metadata/`.

    Raises:
        InputError: `prefix` does not end in a slash or is no folder's name.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        if not prefix.endswith("/"):
            raise InputError("expected a prefix that ends in a slash, got one that does not")
        validate_prefix(prefix)
        self._store = store
        self._prefix = prefix

    def get(self, key: str, *, limit: int = DEFAULT_OBJECT_LIMIT) -> Object | None:
        """Return the object, or None when there is none; see `Store.get`."""
        return self._store.get(self._full(key), limit=limit)

    def occupied(self, key: str) -> bool:
        """Tell whether something lies there, also if it is no object of ours that can be read."""
        try:
            return self.get(key, limit=_GLANCE_BYTES) is not None
        except StoreUnreachable:
            raise
        except (StoreError, LocalError):  # larger, or no plain file
            return True

    def put_new(self, key: str, data: bytes) -> bool:
        """Create the object; see `Store.put_new`."""
        return self._store.put_new(self._full(key), data)

    def replace_if(self, key: str, data: bytes, token: str) -> str | None:
        """Replace the object if it is still the one of `token`; see `Store.replace_if`."""
        return self._store.replace_if(self._full(key), data, token)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Iterate over the objects whose key in this view begins with `prefix`."""
        validate_prefix(prefix)
        found = self._store.list(self._prefix + prefix)
        return (replace(one, key=one.key.removeprefix(self._prefix)) for one in found)

    def delete(self, key: str) -> bool:
        """Delete the object; see `Store.delete`."""
        return self._store.delete(self._full(key))

    def _full(self, key: str) -> str:
        validate_key(key)  # here, so that no key can reach above the folder
        return self._prefix + key
