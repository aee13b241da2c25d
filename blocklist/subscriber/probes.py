"""What resolvers and proxies answer about a host. Nothing is judged here."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import requests

from blocklist.core.errors import LocalError
from blocklist.subscriber import settings
from blocklist.subscriber.resolver import NO_ERROR, NO_SUCH_NAME, REFUSED, Resolver

RECORD_TYPES = ("A", "AAAA")
_BLOCKED_BY = 'rel="blocked-by"'


class Reply(StrEnum):
    """What a resolver said."""

    ADDRESSES = "addresses"
    NOTHING = "nothing"  # the name exists, without an address of this type
    NO_NAME = "no-name"
    REFUSED = "refused"
    FAILED = "failed"  # no answer in time, or one that says that something is broken


_REPLIES = {NO_ERROR: Reply.NOTHING, NO_SUCH_NAME: Reply.NO_NAME, REFUSED: Reply.REFUSED}


@dataclass(frozen=True, slots=True)
class Resolved:
    """The answer to one question.

    Attributes:
        reply: What kind of answer.
        addresses: Sorted as text.
    """

    reply: Reply
    addresses: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"reply": self.reply.value, "addresses": list(self.addresses)}


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to one GET.

    Attributes:
        status: HTTP status; None when there was no answer.
        blocked_by: Whether a `Link` says who blocks (RFC 7725).
    """

    status: int | None
    blocked_by: bool = False

    def to_document(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"status": self.status, "blocked_by": self.blocked_by}


def resolve(resolver: Resolver, name: str, record_type: str) -> Resolved:
    """Ask for the addresses of a name."""
    try:
        answer = resolver.ask(name, record_type)
    except LocalError:
        return Resolved(Reply.FAILED)
    if answer.addresses:
        return Resolved(Reply.ADDRESSES, answer.addresses)
    return Resolved(_REPLIES.get(answer.code, Reply.FAILED))


def resolve_all(resolver: Resolver, name: str) -> dict[str, Resolved]:
    """Ask for the addresses of a name, by type."""
    return {kind: resolve(resolver, name, kind) for kind in RECORD_TYPES}


def fetch(url: str, *, host: str | None = None, proxy: str | None = None) -> Fetched:
    """Ask for a page, without following redirects and without reading it.

    Args:
        url: What to ask for.
        host: What the `Host` header says, if not what the URL does.
        proxy: URL of the proxy; None asks the server itself, whatever the environment says.
    """
    headers = {"Cache-Control": "no-cache"} | ({"Host": host} if host else {})
    with requests.Session() as session:
        session.trust_env = False
        try:
            with session.get(
                url,
                headers=headers,
                proxies={"http": proxy} if proxy else {},
                allow_redirects=False,
                timeout=(settings.CONNECT_TIMEOUT_SECONDS, settings.READ_TIMEOUT_SECONDS),
                stream=True,
            ) as answer:
                link = answer.headers.get("Link", "")
                return Fetched(answer.status_code, _BLOCKED_BY in link)
        except (requests.RequestException, OSError):
            return Fetched(None)
