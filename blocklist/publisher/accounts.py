"""Accounts: who approved a release and who made it live.

An **approval** is one person's signature on a candidate, with a statement that the same key signs:
who, when, on which candidate. The **account** of a release gathers its approvals and says who made
it live, with a statement that the online key signs. It lies at
`private/releases/<list>/<sha256 of the role file>.json` and is sealed by the record of the next
release, which holds a copy of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from securesystemslib.signer import Key

from blocklist.core import documents
from blocklist.core.errors import MalformedFeed, UnknownFormat
from signing import statements

FORMAT = 1
MAX_ACCOUNT_BYTES = 1 << 20  # an account, or an approval
APPROVAL = "blocklist approval 1"
ACCOUNT = "blocklist account 1"


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's signature on a candidate.

    Attributes:
        list: The list.
        version: The version that the candidate would become.
        candidate: Digest of the candidate.
        keyid: TUF id of the key that signs.
        who: Account and machine that ran the command.
        created: When.
        allowed: Codes of the guards whose override was approved.
        signature: Hex signature on the role, as it will stand in the role file.
        statement: Hex signature of the same key on all of the above.
    """

    list: str
    version: int
    candidate: str
    keyid: str
    who: str
    created: datetime
    allowed: tuple[str, ...]
    signature: str
    statement: str = ""

    def claims(self) -> dict[str, Any]:
        """Return what the statement is a signature on."""
        return {
            "format": FORMAT,
            "list": self.list,
            "version": self.version,
            "candidate": self.candidate,
            "keyid": self.keyid,
            "who": self.who,
            "created": documents.format_time(self.created),
            "allowed": [*self.allowed],
            "signature": self.signature,
        }

    def verify_statement(self, key: Key) -> None:
        """Verify that the key signed this statement.

        Raises:
            Tampered: It did not.
        """
        statements.verify(key, APPROVAL, self.claims(), self.statement)

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON object."""
        return {**self.claims(), "statement": self.statement}

    def to_bytes(self) -> bytes:
        """Return it as JSON."""
        return _to_bytes(self.to_document())

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Approval":
        """Read it.

        Raises:
            MalformedFeed, UnknownFormat: It is damaged or from a newer version.
        """
        _expect_format("an approval", document)
        allowed = documents.field(document, "allowed", list)
        if not all(isinstance(code, str) for code in allowed):
            raise MalformedFeed("expected 'allowed' as codes of guards")
        return cls(
            list=documents.field(document, "list", str),
            version=documents.field(document, "version", int),
            candidate=documents.digest(document, "candidate"),
            keyid=documents.digest(document, "keyid"),
            who=documents.field(document, "who", str),
            created=documents.moment(document, "created"),
            allowed=tuple(allowed),
            signature=documents.field(document, "signature", str),
            statement=documents.field(document, "statement", str),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Approval":
        """Read it from JSON; raises as `from_document`."""
        return cls.from_document(documents.parse("an approval", data))


@dataclass(frozen=True, slots=True)
class Account:
    """Who approved a release and who made it live.

    Attributes:
        list: The list.
        version: The version that was released.
        role: Digest of its role file.
        candidate: Digest of the candidate that it was.
        approvals: By key id.
        who: Account and machine that released it.
        created: When.
        keyid: TUF id of the online key that signs.
        statement: Hex signature of that key on all of the above.
    """

    list: str
    version: int
    role: str
    candidate: str
    approvals: tuple[Approval, ...]
    who: str
    created: datetime
    keyid: str
    statement: str = ""

    def verify_statement(self, key: Key) -> None:
        """Verify that the key signed this statement.

        Raises:
            Tampered: It did not.
        """
        statements.verify(key, ACCOUNT, self.claims(), self.statement)

    def claims(self) -> dict[str, Any]:
        """Return what the statement is a signature on."""
        return {
            "format": FORMAT,
            "list": self.list,
            "version": self.version,
            "role": self.role,
            "candidate": self.candidate,
            "approvals": [approval.to_document() for approval in self.approvals],
            "who": self.who,
            "created": documents.format_time(self.created),
            "keyid": self.keyid,
        }

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON object."""
        return {**self.claims(), "statement": self.statement}

    def to_bytes(self) -> bytes:
        """Return it as JSON."""
        return _to_bytes(self.to_document())

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Account":
        """Read it.

        Raises:
            MalformedFeed, UnknownFormat: It is damaged or from a newer version.
        """
        _expect_format("an account of a release", document)
        approvals = documents.field(document, "approvals", list)
        if not all(isinstance(item, dict) for item in approvals):
            raise MalformedFeed("expected 'approvals' as JSON objects")
        return cls(
            list=documents.field(document, "list", str),
            version=documents.field(document, "version", int),
            role=documents.digest(document, "role"),
            candidate=documents.digest(document, "candidate"),
            approvals=tuple(Approval.from_document(item) for item in approvals),
            who=documents.field(document, "who", str),
            created=documents.moment(document, "created"),
            keyid=documents.digest(document, "keyid"),
            statement=documents.field(document, "statement", str),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Account":
        """Read it from JSON; raises as `from_document`."""
        return cls.from_document(documents.parse("an account of a release", data))


def _expect_format(what: str, document: Mapping[str, Any]) -> None:
    version = documents.field(document, "format", int)
    if version != FORMAT:
        raise UnknownFormat(f"expected {what} of format {FORMAT}, got {version}")


def _to_bytes(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()
