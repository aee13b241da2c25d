"""A small DNS server on loopback: an authority for reserved names, or a resolver that filters."""

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from blocklist.subscriber.resolver import Resolver

NO_NAME, NOTHING, REFUSED, BROKEN, SILENT = "no-name", "nothing", "refused", "broken", "silent"
_CODES = {NO_NAME: dns.rcode.NXDOMAIN, REFUSED: dns.rcode.REFUSED, BROKEN: dns.rcode.SERVFAIL}

Names = Mapping[str, Sequence[str] | str]


@contextmanager
def serving(names: Names) -> Iterator[Resolver]:
    """Answer over UDP: addresses of names, or one of the words above; all else is no name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        address, port = listening.getsockname()
        thread = threading.Thread(target=_serve, args=(listening, names))
        thread.start()
        try:
            yield Resolver(address, port)
        finally:
            listening.sendto(b"", (address, port))
            thread.join()


def _serve(listening: socket.socket, names: Names) -> None:
    while True:
        data, client = listening.recvfrom(4096)
        if not data:
            return
        answer = _answer(dns.message.from_wire(data), names)
        if answer is not None:
            listening.sendto(answer.to_wire(), client)


def _answer(query: dns.message.Message, names: Names) -> dns.message.Message | None:
    question = query.question[0]
    found = names.get(question.name.to_text(omit_final_dot=True), NO_NAME)
    answer = dns.message.make_response(query)
    if found == SILENT:
        return None
    if isinstance(found, str):
        answer.set_rcode(_CODES.get(found, dns.rcode.NOERROR))
        return answer
    wanted = "AAAA" if question.rdtype == dns.rdatatype.AAAA else "A"
    texts = [text for text in found if (":" in text) == (wanted == "AAAA")]
    if texts:
        answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", wanted, *texts))
    return answer
