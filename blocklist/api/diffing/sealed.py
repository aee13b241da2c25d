"""Computed diffs that the processes of one API share in Redis, sealed.

Redis is neither the truth nor a place for listed URLs. So what is put there is encrypted and
authenticated (ChaCha20-Poly1305, RFC 8439) under a key made from the hash key of the live version,
which who only has Redis does not know; what cannot be opened, such as what was sealed before the
hash key changed, is as if it were not there. Nothing here fails: without Redis everything is
computed once in each process.
"""

import hashlib
import logging
import os
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from blocklist.api.list_secrets import current_key, read_secret
from blocklist.api.live import Live
from blocklist.core.errors import BlocklistError
from blocklist.store.port import Store

KEEP_SECONDS = 3_600
_NONCE_BYTES = 12
_KEY_PREFIX = b"blocklist sealed diff 1\n"

log = logging.getLogger(__name__)


class Blobs(Protocol):
    """Where several processes share bytes: `SharedState`."""

    def get_blob(self, key: str) -> bytes | None:
        """Return what is kept under `key`, if anything."""

    def put_blob(self, key: str, data: bytes, seconds: int) -> None:
        """Keep `data` for a time."""


class Sealed:
    """Shares documents of a list with the other processes.

    Args:
        store: Where the secrets of the lists are.
        blobs: Where to share; None: there are no other processes.
    """

    def __init__(self, store: Store, blobs: Blobs | None) -> None:
        self._store = store
        self._blobs = blobs

    def get(self, live: Live, list_name: str, name: str) -> bytes | None:
        """Return what a process shared under `name`, if it can be had and opened."""
        if self._blobs is None:
            return None
        try:
            blob = self._blobs.get_blob(name)
            if blob is None:
                return None
            nonce, data = blob[:_NONCE_BYTES], blob[_NONCE_BYTES:]
            return self._cipher(live, list_name).decrypt(nonce, data, name.encode())
        except (BlocklistError, InvalidTag, ValueError) as error:  # ValueError: a short blob
            log.info("a shared diff cannot be used: %s", type(error).__name__)
            return None

    def put(self, live: Live, list_name: str, name: str, document: bytes) -> None:
        """Share a document, if that is possible now."""
        if self._blobs is None:
            return
        try:
            nonce = os.urandom(_NONCE_BYTES)
            data = self._cipher(live, list_name).encrypt(nonce, document, name.encode())
            self._blobs.put_blob(name, nonce + data, KEEP_SECONDS)
        except BlocklistError as error:
            log.info("a diff cannot be shared: %s", type(error).__name__)

    def _cipher(self, live: Live, list_name: str) -> ChaCha20Poly1305:
        key = current_key(live, read_secret(self._store, list_name))
        return ChaCha20Poly1305(hashlib.sha256(_KEY_PREFIX + key.secret).digest())
