"""Sign with a key that lies in ssh-agent, or in a token that an agent fronts.

The agent protocol (RFC 4251 encodings, draft-ietf-sshm-ssh-agent): a request to sign holds the key
blob, the bytes and flags; the answer holds algorithm and raw Ed25519 signature. Keep such keys for
this purpose alone: an agent signs whatever it is asked to. Keys of type `sk-` sign another message
and are refused.
"""

import os
import socket
import struct
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer

from signing.errors import KeyTrouble

SOCKET = "SSH_AUTH_SOCK"
TIMEOUT_SECONDS = 60.0  # a token may ask its owner
MAX_ANSWER_BYTES = 4_096

_SIGN_REQUEST, _SIGN_RESPONSE = 13, 14
_ALGORITHM = b"ssh-ed25519"


class AgentSigner(Signer):
    """A key whose private half only the agent has."""

    def __init__(self, public: Key) -> None:
        self._public = public

    @property
    def public_key(self) -> Key:
        """The public half."""
        return self._public

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> NoReturn:
        """Not used: keys are found in a home, never by URI; the base class demands the method."""
        raise NotImplementedError

    def sign(self, payload: bytes) -> Signature:
        """Let the agent sign.

        Raises:
            KeyTrouble: No agent, or it does not have the key.
        """
        blob = _string(_ALGORITHM) + _string(_raw(self._public))
        request = bytes([_SIGN_REQUEST]) + _string(blob) + _string(payload) + struct.pack(">I", 0)
        signature = _signature(_ask(request))
        return Signature(self._public.keyid, signature.hex())


def public_line(public: Key) -> bytes:
    """Return a key as the line of an OpenSSH `.pub` file."""
    key = Ed25519PublicKey.from_public_bytes(_raw(public))
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"


def _ask(request: bytes) -> bytes:
    """Send one message to the agent and return its answer."""
    path = os.environ.get(SOCKET)
    if not path:
        raise KeyTrouble(f"expected ssh-agent at {SOCKET}, which is not set")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.settimeout(TIMEOUT_SECONDS)
            agent.connect(path)
            agent.sendall(_string(request))
            (length,) = struct.unpack(">I", _exactly(agent, 4))
            if length > MAX_ANSWER_BYTES:
                raise KeyTrouble("expected a signature from ssh-agent, got something larger")
            return _exactly(agent, length)
    except OSError as error:
        raise KeyTrouble(f"cannot ask ssh-agent: {error.strerror or 'no answer'}") from error


def _signature(answer: bytes) -> bytes:
    if answer[:1] != bytes([_SIGN_RESPONSE]):
        raise KeyTrouble("ssh-agent did not sign: expected it to have the key (see `ssh-add -l`)")
    head = struct.pack(">BI", _SIGN_RESPONSE, len(_string(_ALGORITHM)) + 68) + _string(_ALGORITHM)
    if not answer.startswith(head) or len(answer) != len(head) + 68:
        raise KeyTrouble("expected an Ed25519 signature from ssh-agent, got another kind")
    return answer[-64:]


def _exactly(agent: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = agent.recv(size - len(data))
        if not part:
            raise KeyTrouble("ssh-agent closed the connection")
        data += part
    return data


def _raw(public: Any) -> bytes:
    return bytes.fromhex(public.keyval["public"])


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
