"""Candidates: a version that waits for signatures, as one immutable file.

A candidate is a zip file, its members stored without compression, known by the SHA-256 of its
bytes. It lies at `private/candidates/<list>/<sha256>.zip`, or travels to machines that cannot reach
the storage.

    candidate.json                       format, list, version, base
    role.json                            the role as it would be signed, without signatures
    record.json.gz                       the record that the role names
    objects/<feed>/<sha256>.<name>       deltas and snapshots that the version would store

Nothing in it is believed. Whoever signs makes the version again from the lines that the record
says come and go (`checking`), and compares.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuf.api.metadata import Metadata, Targets
from tuf.api.serialization import SerializationError

from blocklist.core import documents
from blocklist.core.errors import MalformedFeed, UnknownFormat
from blocklist.core.release import LIST
from blocklist.publisher.assemble import Assembled
from blocklist.store import layout
from signing import names, policy, verify
from signing.errors import TrustError
from signing.roles import SERIALIZER

FORMAT = 1
MAX_MEMBERS = 256  # a version has some twenty deltas and two snapshots at most
MAX_HEADER_BYTES = 65_536
_HEADER, _ROLE, _RECORD, _OBJECTS = "candidate.json", "role.json", "record.json.gz", "objects/"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment a zip file can name


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that waits for signatures.

    Attributes:
        list: The list.
        version: The number it would have.
        base: Version and role digest of the release it is made on; None for the first.
        signed: The role.
        record: The bytes of its record.
        objects: Deltas and snapshots by object key.
    """

    list: str
    version: int
    base: tuple[int, str] | None
    signed: Targets
    record: bytes
    objects: Mapping[str, bytes]

    @classmethod
    def of(cls, assembled: Assembled) -> "Candidate":
        """Return the candidate of a version; whole lists are left out, they are made again."""
        objects = {
            key: data for key, data in assembled.built.blobs.items() if not key.endswith(f".{LIST}")
        }
        base = assembled.base
        return cls(
            base.name,
            assembled.version,
            base.reference,
            assembled.signed,
            assembled.sealed,
            objects,
        )

    @property
    def signed_bytes(self) -> bytes:
        """What a signature on the role is a signature on.

        Raises:
            MalformedFeed: It has no canonical form.
        """
        try:
            return Metadata(self.signed).signed_bytes
        except (SerializationError, RecursionError) as error:
            raise MalformedFeed("expected a role in canonical JSON in a candidate") from error

    def to_bytes(self) -> bytes:
        """Return the file; equal candidates give equal bytes."""
        base = {"version": self.base[0], "sha256": self.base[1]} if self.base else None
        header = {"format": FORMAT, "list": self.list, "version": self.version, "base": base}
        members = {
            _HEADER: (json.dumps(header, indent=1) + "\n").encode(),
            _ROLE: Metadata(self.signed).to_bytes(SERIALIZER),
            _RECORD: self.record,
        }
        for key, data in sorted(self.objects.items()):
            _, _, place = key.removeprefix(layout.TARGETS).partition("/")
            members[_OBJECTS + place] = data
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Candidate":
        """Read a candidate from anywhere; only its shape is checked.

        One content has one file: else whoever writes to the storage could bring back a candidate
        that was voided, under another digest.

        Raises:
            MalformedFeed, UnknownFormat: It is damaged or from a newer version.
        """
        members = _members(data)
        header = documents.parse("a candidate", _taken(members, _HEADER, MAX_HEADER_BYTES))
        version = documents.field(header, "format", int)
        if version != FORMAT:
            raise UnknownFormat(f"expected a candidate of format {FORMAT}, got {version}")
        list_name = documents.field(header, "list", str)
        if not names.is_delegated_name(list_name):
            raise MalformedFeed("expected a candidate for a list, got another name")
        role = _taken(members, _ROLE, policy.MAX_TARGETS_BYTES)
        try:
            signed = verify.parse(list_name, role, Targets).signed
        except TrustError as error:
            raise MalformedFeed(f"expected a role in a candidate: {error}") from error
        record = members.pop(_RECORD, b"")
        objects = {_object_key(list_name, name): data for name, data in members.items()}
        number = documents.field(header, "version", int)
        if number != signed.version or type(signed.version) is not int:
            raise MalformedFeed("expected a candidate to be of one version, got two")
        found = cls(list_name, number, _base(header), signed, record, objects)
        if not found.signed_bytes or found.to_bytes() != data:
            raise MalformedFeed("expected a candidate as `stage` writes it, got another file")
        return found


def digest(data: bytes) -> str:
    """Return the digest by which a candidate's file is known."""
    return hashlib.sha256(data).hexdigest()


def _members(data: bytes) -> dict[str, bytes]:
    """Return the members of a zip file, under caps: nothing in it may be larger than it is."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > MAX_MEMBERS or len({info.filename for info in infos}) != len(infos):
                raise MalformedFeed(f"expected at most {MAX_MEMBERS} different members")
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                raise MalformedFeed("expected members without compression")
            if sum(info.file_size for info in infos) > len(data):
                raise MalformedFeed("expected members that do not overlap")
            return {info.filename: archive.read(info) for info in infos}
    except _BROKEN as error:
        raise MalformedFeed(
            f"expected a candidate, got no such file: {type(error).__name__}"
        ) from error


_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    NotImplementedError,  # a compression or version that zipfile lacks
    RuntimeError,  # an encrypted member
    EOFError,
    OSError,
    ValueError,
    OverflowError,
)


def _taken(members: dict[str, bytes], name: str, limit: int) -> bytes:
    data = members.pop(name, None)
    if data is None or len(data) > limit:
        raise MalformedFeed(f"expected {name} of at most {limit} bytes in a candidate")
    return data


def _object_key(list_name: str, member: str) -> str:
    """Return the object key for a member, whose name must be one of an object."""
    key = f"{layout.TARGETS}{list_name}/{member.removeprefix(_OBJECTS)}"
    if not member.startswith(_OBJECTS) or layout.parse_target_key(key) is None:
        raise MalformedFeed("expected objects only in a candidate, got another member")
    return key


def _base(header: Mapping[str, Any]) -> tuple[int, str] | None:
    base = documents.optional(header, "base", dict)
    if base is None:
        return None
    return documents.field(base, "version", int), documents.digest(base, "sha256")
