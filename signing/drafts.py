"""Drafts: a change of keys on its way between the people who sign it, as one file.

    {"format": 1,
     "kind": "init" | "root" | "targets",
     "base": {"roots": [text of 1.root.json, ..], "targets": text of N.targets.json or null},
     "drafted": {"root": {"signed": .., "signatures": [..]}, "targets": {..}},
     "unsigned": {"<list>": "<test host>"}}

A draft holds nothing secret and may travel by stick or mail. Nothing in it is believed: `base` is
only there so that a machine without a network can walk from the root that it trusts to the newest
one; it is verified. What a signature would change is computed from that (`signing.describe`), never
read from the draft. `unsigned` is a wish to whoever commits; no signature covers it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from securesystemslib.signer import Key, Signature
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import SerializationError

from signing import names, statements, verify
from signing.errors import Malformed, Rollback, Tampered
from signing.proposals import short
from signing.roles import SERIALIZER, RoleFile
from signing.trust import TrustState

FORMAT = 1
MAX_DRAFT_BYTES = 4 << 20  # 256 roots and two roles

INIT, ROOT, TARGETS = "init", "root", "targets"
_DRAFTED = {
    INIT: [{names.ROOT, names.TARGETS}],
    ROOT: [{names.ROOT}, {names.ROOT, names.TARGETS}],
    TARGETS: [{names.TARGETS}],
}

T = TypeVar("T", Root, Targets)


@dataclass(frozen=True, slots=True)
class Draft:
    """A drafted root, targets role or both, and what they follow.

    Attributes:
        kind: `init`, `root` or `targets`.
        roots: Root files from version 1 to the newest; none for `init`.
        base: The live targets file; None for `init`.
        root, targets: What is drafted, with the signatures so far.
        unsigned: Test host by new list.
    """

    kind: str
    roots: tuple[bytes, ...] = ()
    base: bytes | None = None
    root: Metadata[Root] | None = None
    targets: Metadata[Targets] | None = None
    unsigned: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Metadata[Any]]:
        """What is drafted, by role."""
        found: dict[str, Metadata[Any] | None] = {
            names.ROOT: self.root,
            names.TARGETS: self.targets,
        }
        return {name: part for name, part in found.items() if part is not None}

    @property
    def version(self) -> int:
        """The number that people type: of the drafted root, else of the targets role."""
        return int(next(iter(self.parts.values())).signed.version)

    def to_bytes(self) -> bytes:
        """Return the file."""
        document = {
            "format": FORMAT,
            "kind": self.kind,
            "base": {
                "roots": [data.decode() for data in self.roots],
                "targets": self.base.decode() if self.base is not None else None,
            },
            "drafted": {name: _ordered(part).to_dict() for name, part in self.parts.items()},
            "unsigned": dict(self.unsigned),
        }
        return (json.dumps(document, indent=1) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Base:
    """What a draft follows, as the home's own trust verified it.

    Attributes:
        root: The root before the drafted one, or in force; None for a new repository.
        targets: The targets role that was live when the draft was made.
    """

    root: RoleFile[Root] | None = None
    targets: RoleFile[Targets] | None = None


def read(data: bytes) -> Draft:
    """Read a draft, strictly: nothing is ignored.

    Raises:
        Malformed: Not exactly the documented shape.
    """
    document = _parsed(data)
    _fields(document, "draft", {"format", "kind", "base", "drafted", "unsigned"})
    kind = document["kind"]
    known = isinstance(kind, str) and kind in _DRAFTED
    if type(document["format"]) is not int or document["format"] != FORMAT or not known:
        raise Malformed(f"expected a draft of format {FORMAT} and a known kind")
    base, drafted = document["base"], document["drafted"]
    _fields(base, "base", {"roots", "targets"})
    if not isinstance(drafted, dict) or set(drafted) not in _DRAFTED[kind]:
        raise Malformed(f"expected the roles of a draft of kind {kind}")
    if not isinstance(base["roots"], list) or (kind == INIT) != (base["roots"] == []):
        raise Malformed("expected a draft with the roots that it follows")
    if (kind == INIT) != (base["targets"] is None):
        raise Malformed("expected a draft with the targets role that it follows")
    return Draft(
        kind,
        tuple(_text(root) for root in base["roots"]),
        _text(base["targets"]) if base["targets"] is not None else None,
        _metadata(drafted[names.ROOT], Root) if names.ROOT in drafted else None,
        _metadata(drafted[names.TARGETS], Targets) if names.TARGETS in drafted else None,
        _unsigned(document["unsigned"]),
    )


def merged(drafts: Sequence[Draft]) -> Draft:
    """Return one draft with the signatures of all copies.

    Raises:
        Tampered: They are not copies of one draft.
    """
    first, *others = drafts
    result = replace(first, root=deepcopy(first.root), targets=deepcopy(first.targets))
    for other in others:
        if _without_signatures(other) != _without_signatures(first):
            raise Tampered("expected copies of one draft, got two drafts")
        for name, part in result.parts.items():
            for keyid, signature in other.parts[name].signatures.items():
                part.signatures.setdefault(keyid, signature)
    return result


def follow(draft: Draft, trust: TrustState) -> Base:
    """Return what a draft follows, verified from what this home trusts.

    Raises:
        Tampered, Rollback, Malformed: It is for another repository, or for an older state of it.
    """
    root = trust.root
    if len(draft.roots) >= root.version:
        own = verify.parse(names.ROOT, draft.roots[root.version - 1], Root)
        if own.signed != root.signed:
            raise Tampered("the draft is for another repository than the one trusted here")
        for data in draft.roots[root.version :]:
            root = verify.next_root(root, data)
    elif draft.root is not None and draft.root.signed == trust.root.signed and root.version > 1:
        root = verify.self_signed_root(draft.roots[-1])  # the draft was committed already
        verify.next_root(root, trust.root.data)
    else:
        raise Rollback(
            f"the draft follows root version {len(draft.roots)}, version {root.version} is known "
            "here: propose the change again"
        )
    targets = verify.targets_alone(root, draft.base or b"")
    seen = trust.seen.get(names.TARGETS)
    drafted = draft.targets.signed.version if draft.targets is not None else None
    committed = drafted is None or (seen is not None and drafted == seen[0])
    if root.version == trust.root.version and not committed:
        verify.not_older(names.TARGETS, targets.version, targets.digest, seen)
    return Base(root, targets)


def check_signatures(part: Metadata[Any], may_sign: Mapping[str, Key]) -> None:
    """Refuse signatures that are not by one of these keys on exactly this.

    Raises:
        Tampered: Naming the key.
    """
    try:
        payload = part.signed_bytes
    except (SerializationError, RecursionError) as error:
        raise Malformed("expected a drafted role in canonical JSON") from error
    for keyid, signature in part.signatures.items():
        key = may_sign.get(keyid)
        what = part.signed.type
        if key is None:
            raise Tampered(f"key {short(keyid)} has signed the {what}, but may not")
        if not statements.signs(key, payload, str(signature.signature)):  # of any type, in a draft
            raise Tampered(
                f"key {short(keyid)} signed another {what} than this: the draft was changed "
                "after it was signed"
            )


def sealed(name: str, part: Metadata[T]) -> RoleFile[T]:
    """Return a drafted role as the file to store; the same signatures give the same bytes."""
    ordered = _ordered(part)
    return RoleFile(name, ordered.to_bytes(SERIALIZER), ordered)


def _ordered(part: Metadata[T]) -> Metadata[T]:
    """Return the role with its signatures in the order of their key ids."""
    signatures: dict[str, Signature] = dict(sorted(part.signatures.items()))
    return Metadata(part.signed, signatures)


def _without_signatures(draft: Draft) -> Any:
    document = json.loads(draft.to_bytes())
    for part in document["drafted"].values():
        del part["signatures"]
    return document


def _parsed(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_DRAFT_BYTES:
        raise Malformed(f"expected a draft of at most {MAX_DRAFT_BYTES} bytes")
    try:
        document = json.loads(data, object_pairs_hook=_unique, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"expected a draft as JSON: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise Malformed("expected a draft as a JSON object")
    return document


def _fields(document: Any, what: str, expected: set[str]) -> None:
    if not isinstance(document, dict) or set(document) != expected:
        raise Malformed(f"expected {what} with exactly the fields {', '.join(sorted(expected))}")


def _metadata(document: Any, kind: type[T]) -> Metadata[T]:
    """Return a role that is exactly what the document says: nothing is lost in parsing it."""
    _fields(document, kind.type, {"signed", "signatures"})
    try:
        metadata: Metadata[Any] = Metadata.from_dict(deepcopy(document))
        same = metadata.to_dict() == document
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"expected TUF metadata of {kind.type} in the draft") from error
    if not isinstance(metadata.signed, kind) or not same:
        raise Malformed(f"expected plain TUF metadata of {kind.type} in the draft")
    return metadata


def _unsigned(document: Any) -> dict[str, str]:
    if not isinstance(document, dict):
        raise Malformed("expected test hosts by list in the draft")
    for name, host in document.items():
        if not names.is_delegated_name(name) or not isinstance(host, str):
            raise Malformed("expected test hosts by list in the draft")
    return document


def _text(value: Any) -> bytes:
    try:
        return str.encode(value)
    except (TypeError, UnicodeEncodeError) as error:
        raise Malformed("expected metadata as text in the draft") from error


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Malformed(f"expected each field of the draft once, got {name[:40]!r} twice")
        found[name] = value
    return found


def _refused(constant: str) -> Any:
    raise ValueError(constant)
