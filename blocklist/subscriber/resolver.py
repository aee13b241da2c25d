"""Ask a resolver for the IPv4 address of a name: one question over UDP (RFC 1035).

Just enough to see whether a resolver filters; it believes nothing and follows nothing.
"""

import secrets
import socket
import struct
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from blocklist.core.errors import InputError, LocalError

NO_ERROR, NO_SUCH_NAME = 0, 3
PORT = 53
TRY_SECONDS = 2.0
TRIES = 3

_HEADER = struct.Struct(">6H")
_RECORD = struct.Struct(">HHIH")  # behind the owner's name: type, class, TTL, length
_RECURSE, _IS_ANSWER, _CODE = 0x0100, 0x8000, 0x000F
_A, _CNAME, _IN = 1, 5, 1
_POINTER = 0xC0
_MAX_BYTES = 65_535
_MAX_POINTERS = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What a resolver said.

    Attributes:
        code: The response code; 0 is no error, 3 that there is no such name.
        data: Addresses, and names that aliases lead to, without a final dot.
    """

    code: int
    data: frozenset[str]


@dataclass(frozen=True, slots=True)
class Resolver:
    """A resolver by its address.

    Attributes:
        address: IPv4 or IPv6.
        port: Of UDP.
    """

    address: str
    port: int = PORT

    @classmethod
    def parse(cls, text: str) -> "Resolver":
        """Read `ADDRESS`, `ADDRESS:PORT` or `[IPV6]:PORT`.

        Raises:
            InputError: Something else.
        """
        host, colon, port = text.rpartition(":")
        if not colon or (":" in host and not text.startswith("[")) or text.endswith("]"):
            host, port = text, str(PORT)
        address = host.removeprefix("[").removesuffix("]")
        try:
            ip_address(address)
        except ValueError:
            address = ""
        if not address or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
            raise InputError("expected a resolver as ADDRESS or ADDRESS:PORT")
        return cls(address, int(port))

    def ask(self, name: str) -> Answer:
        """Ask for the A records of a name.

        Raises:
            LocalError: No usable answer, after some tries.
        """
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as channel:
            try:
                channel.connect((self.address, self.port))
                for _ in range(TRIES):
                    answer = _exchange(channel, name)
                    if answer is not None:
                        return answer
            except OSError as error:
                raise LocalError(f"the resolver does not answer: {error.strerror}") from error
        raise LocalError("the resolver does not answer")


def _exchange(channel: socket.socket, name: str) -> Answer | None:
    """Ask once; None when no answer to this question came in time."""
    question = _HEADER.pack(secrets.randbits(16), _RECURSE, 1, 0, 0, 0)
    labels = name.encode("ascii").split(b".")
    question += b"".join(bytes([len(label)]) + label for label in labels)
    question += struct.pack(">BHH", 0, _A, _IN)
    channel.send(question)
    deadline = time.monotonic() + TRY_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        channel.settimeout(left)
        try:
            data = channel.recv(_MAX_BYTES)
        except TimeoutError:
            return None
        if data[:2] == question[:2] and len(data) >= _HEADER.size:
            try:
                return _read(data)
            except (struct.error, IndexError, ValueError) as error:
                raise LocalError("expected a DNS message from the resolver") from error
    return None


def _read(data: bytes) -> Answer:
    _, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
    if not flags & _IS_ANSWER or questions != 1:
        raise ValueError("no answer to one question")
    at = _name(data, _HEADER.size)[1] + 4
    found: set[str] = set()
    for _ in range(answers):
        at = _name(data, at)[1]
        kind, _, _, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if kind == _A:
            found.add(str(IPv4Address(data[at : at + length])))
        elif kind == _CNAME:
            found.add(_name(data, at)[0])
        at += length
    return Answer(flags & _CODE, frozenset(found))


def _name(data: bytes, at: int) -> tuple[str, int]:
    """Return the name at an offset, and the offset behind it."""
    labels: list[str] = []
    end = None
    for _ in range(_MAX_POINTERS):
        while (size := data[at]) and size < _POINTER:
            labels.append(data[at + 1 : at + 1 + size].decode("latin-1").lower())
            at += 1 + size
        if end is None:
            end = at + (2 if size else 1)
        if not size:
            return ".".join(labels), end
        at = (size & ~_POINTER) << 8 | data[at + 1]
    raise ValueError("too many pointers")
