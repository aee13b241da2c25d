"""`/v1/enrolment`: what the caller is enrolled for now, so that nobody needs a new file by hand.

Lists, feeds, test hosts, and hash keys for the hashed feed: the one that the live version is hashed
with, and the one that it announces. No token, no sources and no root: who asks has them, and must
not take them from here. What is not signed is found by what is: the key's id.
"""

from datetime import datetime
from typing import Any

from flask import Flask, Response

from blocklist.api import answers
from blocklist.api.headers import NO_STORE
from blocklist.api.list_secrets import announced_key, current_key, read_secret
from blocklist.api.live import Live
from blocklist.api.services import Services
from blocklist.core.documents import format_time
from blocklist.core.entries import Feed
from blocklist.core.hashing import HashKey
from blocklist.core.private import ListSecret, Subscription
from blocklist.store.port import Store

FORMAT = 1
CURRENT, ANNOUNCED = "current", "announced"


class EnrolmentRoutes:
    """The route, on one app's services.

    Args:
        services: The app's parts.
        store: The whole storage.
    """

    def __init__(self, services: Services, store: Store) -> None:
        self._services = services
        self._store = store

    def register(self, app: Flask) -> None:
        """Add the route."""
        app.add_url_rule("/v1/enrolment", "enrolment", self.enrolment)

    def enrolment(self) -> Response:
        """Answer with what the caller is enrolled for; a list that is gone is left out."""
        caller = self._services.caller()
        live = self._services.reader.live()
        names = [name for name in sorted(caller.lists) if live.knows(name)]
        document = {
            "format": FORMAT,
            "name": caller.name,
            "expires": _time(caller.expires),
            "lists": [self._list(live, caller, name) for name in names],
        }
        return answers.document(document, NO_STORE)

    def _list(self, live: Live, caller: Subscription, name: str) -> dict[str, Any]:
        secret = read_secret(self._store, name)
        feeds = caller.lists[name]
        return {
            "list": name,
            "feeds": [feed.value for feed in feeds],
            "hash_keys": _hash_keys(live, secret) if Feed.HASHED in feeds else [],
            "test_host": secret.test_host,
        }


def _hash_keys(live: Live, secret: ListSecret) -> list[dict[str, str]]:
    """Return the key in use, then the one that is announced; others are of no use to anybody.

    Raises:
        NotServable: The one in use is not among the secrets.
    """
    current, announced = current_key(live, secret), announced_key(live, secret)
    coming = [] if announced is None else [_key(announced, ANNOUNCED)]
    return [_key(current, CURRENT), *coming]


def _key(key: HashKey, status: str) -> dict[str, str]:
    return {"id": key.id, "key": key.hex(), "status": status}


def _time(moment: datetime | None) -> str | None:
    return format_time(moment) if moment is not None else None
