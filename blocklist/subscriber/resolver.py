"""Ask a resolver for the addresses of a name, through dnspython.

Just enough to see whether a resolver filters: it believes nothing and follows nothing.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from blocklist.core.errors import InputError, LocalError

NO_ERROR: Final = int(dns.rcode.NOERROR)
NO_SUCH_NAME: Final = int(dns.rcode.NXDOMAIN)
REFUSED: Final = int(dns.rcode.REFUSED)
PORT = 53
TRY_SECONDS = 2.0
TRIES = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What a resolver said.

    Attributes:
        code: The response code; 0 is no error, 3 that there is no such name.
        data: Addresses, and names that aliases lead to, without a final dot.
    """

    code: int
    data: frozenset[str]

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses alone, sorted as text."""
        return tuple(sorted(text for text in self.data if _is_address(text)))


@dataclass(frozen=True, slots=True)
class Resolver:
    """A resolver by its address.

    Attributes:
        address: IPv4 or IPv6.
        port: Of UDP, and of TCP for answers that are cut off.
    """

    address: str
    port: int = PORT

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

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
        known = _is_address(address) and port.isascii() and port.isdigit()
        if not known or not 0 < int(port) < 1 << 16:
            raise InputError("expected a resolver as ADDRESS or ADDRESS:PORT")
        return cls(address, int(port))

    def ask(self, name: str, record_type: str = "A") -> Answer:
        """Ask for the records of a name.

        Args:
            name: With or without a final dot.
            record_type: `A` or `AAAA`.

        Raises:
            InputError: No name that DNS can hold.
            LocalError: No usable answer, after some tries.
        """
        try:
            query = dns.message.make_query(name, record_type)
        except dns.exception.DNSException as error:
            raise InputError("expected a name that DNS can hold") from error
        for _ in range(TRIES):
            try:
                answer, _tcp = dns.query.udp_with_fallback(
                    query,
                    self.address,
                    TRY_SECONDS,
                    self.port,
                    ignore_unexpected=True,
                    ignore_errors=True,  # from anybody: the right answer may come yet
                )
            except dns.exception.Timeout:
                continue
            except (dns.exception.DNSException, EOFError) as error:  # over TCP
                raise LocalError("expected a DNS message from the resolver") from error
            except OSError as error:
                raise LocalError(f"the resolver does not answer: {error.strerror}") from error
            return _read(answer, record_type)
        raise LocalError("the resolver does not answer")


def _read(answer: dns.message.Message, record_type: str) -> Answer:
    found: set[str] = set()
    for records in answer.answer:
        if records.rdtype == dns.rdatatype.from_text(record_type):
            found.update(record.address for record in records)
        elif records.rdtype == dns.rdatatype.CNAME:
            found.update(record.target.to_text(omit_final_dot=True).lower() for record in records)
    return Answer(int(answer.rcode()), frozenset(found))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
