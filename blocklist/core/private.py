"""Documents under `private/`: who may read what, and the secrets of a list. Never served.

`private/enrolments/<sha256 of token>.json` is looked up by the digest of a presented token, so the
token itself is stored nowhere but at the subscriber. `private/lists/<list>.json` holds hash keys
and the test host.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from blocklist.core import documents, hosts
from blocklist.core.entries import Feed
from blocklist.core.errors import InputError, MalformedFeed, UnknownFormat
from blocklist.core.hashing import HashKey

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one token may read.

    Attributes:
        name: The subscriber.
        token_digest: Hex SHA-256 of the token.
        lists: Feeds by list name.
        created: When it was made.
        expires: When it ends; None: never.
        revoked: When it was revoked, if so; for good.
        admin: May also read the subscribers' board.
        reason: Why it was revoked, if a reason was given.
        revision: How often the document was changed. It rises, so that no bytes ever come back
            (`Store`, "Tokens").
    """

    name: str
    token_digest: str
    lists: Mapping[str, tuple[Feed, ...]]
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    admin: bool = False
    reason: str | None = None
    revision: int = 0

    def valid(self, now: datetime) -> bool:
        """Tell whether the token may be used at `now`."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def state(self, now: datetime) -> str:
        """Return `valid`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "valid" if self.valid(now) else "expired"

    def to_bytes(self) -> bytes:
        """Return the document as JSON."""
        document = {
            "format": FORMAT,
            "name": self.name,
            "token_sha256": self.token_digest,
            "lists": {name: [f.value for f in feeds] for name, feeds in self.lists.items()},
            "created": documents.format_time(self.created),
            "expires": documents.format_time(self.expires) if self.expires else None,
            "revoked": documents.format_time(self.revoked) if self.revoked else None,
            "admin": self.admin,
            "reason": self.reason,
            "revision": self.revision,
        }
        return (json.dumps(document, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Subscription":
        """Read the document.

        Raises:
            MalformedFeed, UnknownFormat: It is damaged or from a newer version.
        """
        document = _document("a subscription", data)
        lists = documents.field(document, "lists", dict)
        return cls(
            documents.field(document, "name", str),
            documents.digest(document, "token_sha256"),
            {name: _feeds(documents.field(lists, name, list)) for name in lists},
            documents.moment(document, "created"),
            _optional_moment(document, "expires"),
            _optional_moment(document, "revoked"),
            document.get("admin") is True,
            documents.optional(document, "reason", str),
            documents.optional(document, "revision", int) or 0,  # older documents have none
        )


@dataclass(frozen=True, slots=True)
class ListSecret:
    """The secrets of a list, and its harmless test entry.

    Attributes:
        name: The list.
        test_host: Host of the test entry.
        hash_keys: Former ones too. Signed metadata names the one in use by its id, and the one that
            is announced; their order says nothing, but that a list without release has the first.
    """

    name: str
    test_host: str
    hash_keys: tuple[HashKey, ...] = field(repr=False)

    @property
    def first_key(self) -> HashKey:
        """The key that the first release will be hashed with, while there is none."""
        return self.hash_keys[0]

    def key_of(self, key_id: str | None) -> HashKey | None:
        """Return the key that signed metadata names, None when it is not among these.

        The id is computed from the key, so that other bytes are never found under it.
        """
        return next((key for key in self.hash_keys if key.id == key_id), None)

    def to_bytes(self) -> bytes:
        """Return the document as JSON."""
        keys = [{"id": key.id, "key": key.hex()} for key in self.hash_keys]
        document = {
            "format": FORMAT,
            "list": self.name,
            "test_host": self.test_host,
            "hash_keys": keys,
        }
        return (json.dumps(document, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "ListSecret":
        """Read the document.

        Raises:
            MalformedFeed, UnknownFormat: It is damaged or from a newer version.
        """
        document = _document("the secrets of a list", data)
        keys = []
        for item in documents.field(document, "hash_keys", list):
            if not isinstance(item, dict):
                raise MalformedFeed("expected hash keys as JSON objects")
            keys.append(_hash_key(documents.field(item, "key", str)))
        if not keys:
            raise MalformedFeed("expected at least one hash key")
        name = documents.field(document, "list", str)
        return cls(name, hosts.canonical_field(document, "test_host"), tuple(keys))


def _document(what: str, data: bytes) -> dict[str, Any]:
    document = documents.parse(what, data)
    version = documents.field(document, "format", int)
    if version != FORMAT:
        raise UnknownFormat(f"expected {what} of format {FORMAT}, got {version}")
    return document


def _hash_key(text: str) -> HashKey:
    try:
        return HashKey.from_hex(text)
    except InputError as error:
        raise MalformedFeed(str(error)) from None  # the cause could quote the secret


def _feeds(names: list[Any]) -> tuple[Feed, ...]:
    try:
        return tuple(Feed(name) for name in names)
    except ValueError as error:
        raise MalformedFeed("expected feeds of 'clear' and 'hashed'") from error


def _optional_moment(document: Mapping[str, Any], name: str) -> datetime | None:
    text = documents.optional(document, name, str)
    return documents.parse_time(text) if text is not None else None
