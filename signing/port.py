"""What trust needs of a storage: three operations on metadata names."""

from typing import Protocol


class StoredObject(Protocol):
    """An object as read: its bytes, and the token that a conditional replace needs."""

    @property
    def data(self) -> bytes:
        """The whole object."""

    @property
    def token(self) -> str:
        """Opaque; changes whenever the object does."""


class MetadataStore(Protocol):
    """A place for metadata files; the full contract is that of `blocklist.store.port.Store`."""

    def get(self, key: str, *, limit: int) -> StoredObject | None:
        """Return the object, or None when there is none."""

    def occupied(self, key: str) -> bool:
        """Tell whether anything lies there, of whatever kind and size."""

    def put_new(self, key: str, data: bytes) -> bool:
        """Create the object; False when something is already there."""

    def replace_if(self, key: str, data: bytes, token: str) -> str | None:
        """Replace the object if it is still the one of `token`; None when it is not."""
