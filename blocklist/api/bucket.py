"""The bucket, scoped: `/v1/metadata/<name>` and `/v1/targets/<list>/<feed>/<sha256>.<name>`.

Names are matched as a whole against what the layout makes; nothing else reaches the storage. What
lies above the head is a leftover or not released yet: 404, and never cached.
"""

import re
from typing import Any

from flask import Flask, Response

from blocklist.api import answers
from blocklist.api.headers import IMMUTABLE, NO_STORE, REVALIDATE
from blocklist.api.limits import MAX_OBJECT_BYTES
from blocklist.api.live import Live
from blocklist.api.problems import NOT_FOUND, Problem
from blocklist.api.reader import FeedReader
from blocklist.api.services import Services, released
from blocklist.api.tokens import require
from blocklist.core.private import Subscription
from blocklist.core.release import LIST, SNAPSHOT, parse_delta_name
from signing import names, policy
from signing.roles import RoleFile

_METADATA = re.compile(r"([1-9][0-9]{0,15})\.([a-z0-9-]{1,32})\.json")
_TARGET = re.compile(r"([0-9a-f]{64})\.(list|snapshot|delta-[1-9][0-9]{0,15})")


class BucketRoutes:
    """The routes, on one app's services."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def register(self, app: Flask) -> None:
        """Add the routes."""
        app.add_url_rule("/v1/metadata/<name>", "metadata", self.metadata)
        app.add_url_rule("/v1/targets/<list_name>/<feed>/<name>", "target", self.target)

    def metadata(self, name: str) -> Response:
        """Answer with a metadata file."""
        caller = self._services.caller()
        reader = self._services.reader
        if name == names.TIMESTAMP_FILE:
            reader.catch_up()  # whoever asks may have seen a newer one from another process
            stamp = reader.live().head.timestamp
            return answers.data(stamp.data, answers.JSON, REVALIDATE, str(stamp.version))
        match = _METADATA.fullmatch(name)
        if match is None:
            raise _not_found()
        data = _stored(reader, caller, match[2], int(match[1]))
        if data is None:  # what another process has announced may be new to this one
            reader.catch_up()
            data = _stored(reader, caller, match[2], int(match[1]))
        if data is None:
            raise _not_found()
        return answers.data(data, answers.JSON, IMMUTABLE, name)

    def target(self, list_name: str, feed: str, name: str) -> Response:
        """Answer with a delta, a snapshot or a whole list, by its digest."""
        caller = self._services.caller()
        offer, release = released(self._services.offer_to(caller, list_name, feed))
        match = _TARGET.fullmatch(name)
        if match is not None and not _below_head(match[2], release.version):
            offer, release = released(self._services.caught_up(offer, caller))
        if match is None or not _below_head(match[2], release.version):
            raise _not_found()
        if answers.holds(match[1]):
            return answers.not_modified(match[1], IMMUTABLE)
        found = self._services.reader.objects.target(
            offer.list, offer.feed, match[2], match[1], MAX_OBJECT_BYTES
        )
        if found is None:
            raise _not_found()
        # Bytes that do not match their name are handed on, but must not stick anywhere.
        cache, etag = (IMMUTABLE, match[1]) if found.intact else (NO_STORE, None)
        return answers.data(found, answers.OCTETS, cache, etag)


def _below_head(name: str, head: int) -> bool:
    """Tell whether a target of that name may exist: a delta starts below the head."""
    start = parse_delta_name(name)
    return start < head if start is not None else name in (LIST, SNAPSHOT)


def _stored(reader: FeedReader, caller: Subscription, role: str, version: int) -> bytes | None:
    """Return a numbered metadata file that is not above the head, None when there is none.

    Raises:
        Problem: 403: a list that the token is not for.
    """
    if names.is_delegated_name(role):
        require(caller, role)
        return _list_role(reader, reader.live(), role, version)
    head = reader.live().head
    tops: dict[str, RoleFile[Any]] = {
        names.ROOT: head.root,
        names.TARGETS: head.targets,
        names.SNAPSHOT: head.snapshot,
    }
    top = tops.get(role)
    if top is None or version > top.version:
        return None
    if version == top.version:
        return top.data
    return reader.metadata(names.file_name(role, version), policy.MAX_TARGETS_BYTES)


def _list_role(reader: FeedReader, live: Live, name: str, version: int) -> bytes | None:
    role = live.roles.get(name)
    if role is None or version > role.version:
        return None
    return reader.role_data(live, name, version)


def _not_found() -> Problem:
    return Problem(NOT_FOUND, "no such object is released")
