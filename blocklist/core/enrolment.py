"""The enrolment: the one file a subscriber needs, made by `subscriber add`, read by `enrol`.

It holds secrets (tokens, passwords, hash keys): mode 0600, and never printed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blocklist.core import documents, hosts
from blocklist.core.entries import Feed
from blocklist.core.errors import InputError, MalformedFeed, UnknownFormat
from blocklist.core.hashing import HashKey

FORMAT = 1
SOURCE_FIELDS = ("url", "token", "user", "password")


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """A place to pull from, in order of preference, with what opens it and nothing else.

    Attributes:
        url: `https://HOST[/base]` (our API), `static+https://..`, `file:DIR` or `s3://..`.
        token: Bearer token for this source; None: the enrolment's, if it is our API.
        user, password: Instead of a token, for web servers that ask for a password.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def login(self) -> tuple[str, str] | None:
        """User and password, None without."""
        return None if self.user is None or self.password is None else (self.user, self.password)

    def to_document(self) -> dict[str, str]:
        """Return it as an enrolment has it."""
        return _without_none({name: getattr(self, name) for name in SOURCE_FIELDS})

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "SourceUrl":
        """Read it.

        Raises:
            MalformedFeed: A wrong type, or neither one token nor user with password.
        """
        url = documents.field(document, "url", str)
        token, user, password = (
            documents.optional(document, name, str) for name in SOURCE_FIELDS[1:]
        )
        if (user is None) != (password is None) or None not in (token, user):
            raise MalformedFeed("expected a source with a token, or user and password, or neither")
        return cls(url, token, user, password)


@dataclass(frozen=True, slots=True)
class EnrolledList:
    """A list the subscriber may have.

    Attributes:
        name: The list.
        feeds: In which forms.
        hash_keys: Hash keys by id (hex), for the hashed feed.
        test_host: Host of the list's harmless test entry.
    """

    name: str
    feeds: tuple[Feed, ...]
    hash_keys: Mapping[str, HashKey] = field(repr=False)
    test_host: str


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a subscriber needs to know.

    Attributes:
        name: The subscriber's name.
        sources: In order.
        token: Bearer token for our API; None where no source asks for one.
        root: Exact bytes of the root metadata to pin.
        lists: By name.
    """

    name: str
    sources: tuple[SourceUrl, ...]
    token: str | None = field(repr=False)
    root: bytes = field(repr=False)
    lists: Mapping[str, EnrolledList]

    def to_bytes(self) -> bytes:
        """Return the document as JSON."""
        document = {
            "format": FORMAT,
            "name": self.name,
            "sources": [source.to_document() for source in self.sources],
            "token": self.token,
            "root": self.root.decode(),
            "lists": [_list_document(item) for item in self.lists.values()],
        }
        return (json.dumps(_without_none(document), indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Enrolment":
        """Read an enrolment.

        Raises:
            InputError: Not an enrolment.
            UnknownFormat: Made for a newer client.
        """
        try:
            return cls._read(documents.parse("an enrolment", data))
        except MalformedFeed as error:
            raise InputError(f"the enrolment is damaged: {error}") from error

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> "Enrolment":
        version = documents.field(document, "format", int)
        if version != FORMAT:
            raise UnknownFormat(f"expected an enrolment of format {FORMAT}, got {version}")
        sources = [_object(item) for item in documents.field(document, "sources", list)]
        lists = [_read_list(_object(item)) for item in documents.field(document, "lists", list)]
        return cls(
            documents.field(document, "name", str),
            tuple(SourceUrl.from_document(item) for item in sources),
            documents.optional(document, "token", str),
            documents.field(document, "root", str).encode(),
            {item.name: item for item in lists},
        )


def read_hash_keys(data: bytes) -> Mapping[str, Mapping[str, HashKey]]:
    """Read the hash keys in our API's answer to `/v1/enrolment`, by list and id.

    Nothing else in it is read: who asks has an enrolment, and must not take another from here.

    Raises:
        MalformedFeed: It is something else.
        UnknownFormat: Made for a newer client.
    """
    document = documents.parse("an enrolment", data)
    version = documents.field(document, "format", int)
    if version != FORMAT:
        raise UnknownFormat(f"expected an enrolment of format {FORMAT}, got {version}")
    found: dict[str, Mapping[str, HashKey]] = {}
    for item in documents.field(document, "lists", list):
        one = _object(item)
        name = documents.field(one, "list", str)
        if name in found:
            raise MalformedFeed("expected each list once in an enrolment")
        found[name] = _read_hash_keys(one)
    return found


def _list_document(item: EnrolledList) -> dict[str, Any]:
    keys = [{"id": key_id, "key": key.hex()} for key_id, key in item.hash_keys.items()]
    return {
        "list": item.name,
        "feeds": [feed.value for feed in item.feeds],
        "hash_keys": keys,
        "test_host": item.test_host,
    }


def _read_list(document: Mapping[str, Any]) -> EnrolledList:
    try:
        feeds = tuple(Feed(name) for name in documents.field(document, "feeds", list))
    except ValueError as error:
        raise MalformedFeed("expected feeds of 'clear' and 'hashed'") from error
    return EnrolledList(
        documents.field(document, "list", str),
        feeds,
        _read_hash_keys(document),
        hosts.canonical_field(document, "test_host"),
    )


def _read_hash_keys(document: Mapping[str, Any]) -> Mapping[str, HashKey]:
    keys = [_object(item) for item in documents.field(document, "hash_keys", list)]
    try:
        found = [HashKey.from_hex(documents.field(item, "key", str)) for item in keys]
    except InputError as error:
        raise MalformedFeed(str(error)) from None  # the cause could quote the secret
    if [key.id for key in found] != [documents.digest(item, "id") for item in keys]:
        raise MalformedFeed("expected each hash key under its own id")
    return {key.id: key for key in found}


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedFeed(f"expected a JSON object, got {type(value).__name__}")
    return value


def _without_none(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}
