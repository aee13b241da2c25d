"""What a walk from one version to another is fed with: role files as hints, and objects.

Both come from the update document where there is one, else one by one from the source. A hint is
an unverified role file of an intermediate version: it only says which deltas to try.
"""

import hashlib
from collections.abc import Mapping

from tuf.api.metadata import Targets

from blocklist.core.entries import Feed
from blocklist.core.errors import DigestMismatch, MalformedFeed, TransportError, UnknownFormat
from blocklist.core.listbytes import MAX_LIST_BYTES
from blocklist.core.release import Blob, FeedRelease, read_release
from blocklist.core.update import Update
from blocklist.subscriber.sources import Source
from signing import names, policy
from signing.errors import Malformed
from signing.roles import targets_of
from signing.verify import parse


class Supply:
    """Hostile bytes for one feed of one list, each under its cap.

    Attributes:
        objects: How many objects were used so far.
    """

    def __init__(self, source: Source, list_name: str, feed: Feed, update: Update | None) -> None:
        self.objects = 0
        self._source = source
        self._list = list_name
        self._feed = feed
        self._files: Mapping[str, bytes] = update.files if update else {}
        self._objects: Mapping[str, bytes] = update.objects if update else {}

    def hint(self, version: int) -> FeedRelease:
        """Return what the role file of a version claims; nothing of it is verified.

        Raises:
            TransportError: It is not there, or could not be had.
            MalformedFeed: It has another shape.
        """
        data = self._role_file(names.file_name(self._list, version))
        try:
            role = parse(self._list, data, Targets)
            return read_release(self._list, self._feed, version, targets_of(role.signed))
        except (Malformed, UnknownFormat) as error:  # unverified: no reason to ask for a new client
            raise MalformedFeed(f"expected a role file of version {version}: {error}") from error

    def object(self, blob: Blob) -> bytes:
        """Return the object that was named, with its digest verified.

        Raises:
            TransportError: It is not there, or could not be had.
            DigestMismatch: Other bytes are there.
        """
        if blob.length > MAX_LIST_BYTES:
            raise MalformedFeed(f"expected an object of at most {MAX_LIST_BYTES} bytes")
        data = self._objects.get(blob.file)
        if data is None:
            data = self._source.object(self._list, self._feed, blob.file, blob.length)
        if data is None:
            raise TransportError(f"the object {blob.name} is not at {self._source.place}")
        if len(data) != blob.length or hashlib.sha256(data).hexdigest() != blob.sha256:
            raise DigestMismatch(f"the object {blob.name} is not what metadata names")
        self.objects += 1
        return data

    def _role_file(self, name: str) -> bytes:
        if name in self._files:
            return self._files[name]
        chunks = self._source.metadata(name)
        if chunks is None:
            raise TransportError(f"the role file {name} is not at {self._source.place}")
        data = b"".join(chunks)
        if len(data) > policy.MAX_TARGETS_BYTES:
            raise MalformedFeed(f"expected a role file of at most {policy.MAX_TARGETS_BYTES} bytes")
        return data
