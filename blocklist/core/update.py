"""The update document: everything for one step from N to M in one answer of the API.

Pure copying of stored files; nothing in it is trusted before it is verified.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from blocklist.core import documents
from blocklist.core.entries import Feed
from blocklist.core.errors import MalformedFeed


@dataclass(frozen=True, slots=True)
class Update:
    """An update document.

    Attributes:
        list, feed: What it is for.
        version: The version it leads to, as the API sees it; None before the first release.
        files: Metadata files by name (`timestamp.json`, `8.demo.json`): their bytes.
        objects: Stored objects by the last segment of their key (`<sha256>.delta-7`).
    """

    list: str
    feed: Feed
    version: int | None
    files: Mapping[str, bytes] = field(default_factory=dict)
    objects: Mapping[str, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the document as JSON: files as text, objects as base64."""
        document = {
            "list": self.list,
            "feed": self.feed.value,
            "version": self.version,
            "files": {name: data.decode() for name, data in self.files.items()},
            "objects": {n: base64.b64encode(data).decode() for n, data in self.objects.items()},
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Update":
        """Read a document.

        Raises:
            MalformedFeed: Not such a document.
        """
        document = documents.parse("an update", data)
        files = documents.field(document, "files", dict)
        objects = documents.field(document, "objects", dict)
        try:
            return cls(
                documents.field(document, "list", str),
                Feed(documents.field(document, "feed", str)),
                documents.optional(document, "version", int),
                {name: documents.field(files, name, str).encode() for name in files},
                {name: _decode(documents.field(objects, name, str)) for name in objects},
            )
        except (ValueError, UnicodeEncodeError) as error:
            raise MalformedFeed("expected an update document, got another shape") from error


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedFeed("expected objects of an update as base64") from error
