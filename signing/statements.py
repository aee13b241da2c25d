"""Statements: short JSON documents that one key signs, apart from TUF metadata.

What is signed begins with a line that no metadata begins with (metadata begins with `{`), so that
no signature on one can be taken for a signature on the other.
"""

import re
from collections.abc import Mapping
from typing import Any

from securesystemslib.exceptions import FormatError, UnverifiedSignatureError, VerificationError
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Key, Signature, Signer

from signing.errors import Malformed, Tampered

_HEX = re.compile(r"[0-9a-f]+")


def sign(signer: Signer, purpose: str, document: Mapping[str, Any]) -> str:
    """Return the hex signature of a key on a document.

    Args:
        signer: The key.
        purpose: What the statement is, such as `blocklist approval 1`; one line.
        document: ASCII keys, no floats.
    """
    return str(signer.sign(_payload(purpose, document)).signature)


def verify(key: Key, purpose: str, document: Mapping[str, Any], signature: str) -> None:
    """Verify a signature that `sign` made.

    Raises:
        Tampered: It is not by this key, or not on this.
        Malformed: The document has no canonical form.
    """
    if not signs(key, _payload(purpose, document), signature):
        raise Tampered(f"expected a signature of {key.keyid[:16]} on the {purpose}")


def signs(key: Key, data: bytes, signature: str) -> bool:
    """Tell whether a signature in lower-case hex is by this key, on these bytes.

    Python reads hex with spaces and capitals in it too; clients in other languages may not.
    """
    if not _HEX.fullmatch(signature):
        return False
    try:
        key.verify_signature(Signature(key.keyid, signature), data)
    except (UnverifiedSignatureError, VerificationError, ValueError):
        return False
    return True


def _payload(purpose: str, document: Mapping[str, Any]) -> bytes:
    try:
        return f"{purpose}\n{encode_canonical(dict(document))}".encode()
    except (FormatError, UnicodeEncodeError, RecursionError) as error:
        raise Malformed(f"expected a {purpose} in canonical JSON") from error
