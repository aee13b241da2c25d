"""What there is and how to get from N to M: `/v1/lists` and below."""

import hashlib
import json
from typing import Any

from flask import Flask, Response, request

from blocklist.api import answers, params
from blocklist.api.headers import CALLER_AND_CODING, REVALIDATE
from blocklist.api.limits import MAX_OBJECT_BYTES
from blocklist.api.live import Live, NotServable
from blocklist.api.problems import NOT_FOUND, Problem
from blocklist.api.services import Services, released
from blocklist.api.updates import Offer, Step, is_gzipped
from blocklist.core.documents import format_time
from blocklist.core.entries import Feed
from blocklist.core.release import FeedRelease

UPDATE_PARAMETERS = frozenset({"from", "root", "targets", "timestamp"})
VERSION_HEADER = "X-Blocklist-Version"


class ListRoutes:
    """The routes, on one app's services."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def register(self, app: Flask) -> None:
        """Add the routes."""
        app.add_url_rule("/v1/lists", "lists", self.index)
        app.add_url_rule("/v1/lists/<list_name>/<feed>", "feed", self.feed)
        app.add_url_rule("/v1/lists/<list_name>/<feed>/update", "update", self.update)
        app.add_url_rule("/v1/lists/<list_name>/<feed>/snapshot", "snapshot", self.snapshot)

    def index(self) -> Response:
        """Answer with every feed that the caller may read."""
        caller = self._services.caller()
        live = self._services.reader.live()
        feeds = [(name, feed) for name in sorted(caller.lists) for feed in caller.lists[name]]
        value = {"lists": [_summary(live, name, feed) for name, feed in feeds]}
        etag = hashlib.sha256(json.dumps(value).encode()).hexdigest()
        return answers.document(value, REVALIDATE, etag)

    def feed(self, list_name: str, feed: str) -> Response:
        """Answer with the live version of one feed."""
        caller = self._services.caller()
        offer = self._services.offer_to(caller, list_name, feed)
        seconds = params.wait(request) if answers.conditional() else 0

        def news(offer: Offer) -> bool:
            return not answers.holds(str(offer.version))

        if any(held > (offer.version,) for held in params.versions_held(request, 1)):
            offer = self._services.caught_up(offer, caller)
        offer, _ = self._services.when_news(caller, offer, seconds, news)
        offer, release = released(offer)
        value = _describe(offer.live, release)
        return _applied(answers.document(value, REVALIDATE, str(release.version)), seconds)

    def update(self, list_name: str, feed: str) -> Response:
        """Answer with all that leads from the version held to the live one, or 304."""
        step = _step()
        seconds = params.wait(request)
        caller = self._services.caller()
        offer = self._services.offer_to(caller, list_name, feed)
        if "from" in request.args:
            self._services.board.note(caller, offer.list, offer.feed, step.have)
        if _behind(offer, step):
            offer = self._services.caught_up(offer, caller)
        offer, new = self._services.when_news(caller, offer, seconds, lambda at: _news(at, step))
        answer = self._document(offer, step) if new else _unchanged(offer)
        answer.headers["Vary"] = CALLER_AND_CODING
        return _applied(answer, seconds)

    def _document(self, offer: Offer, step: Step) -> Response:
        updates = self._services.updates
        body = updates.body(offer, step, accepts_gzip=answers.accepts_gzip())
        answer = answers.whole(body, answers.JSON, REVALIDATE, offer.etag)
        if is_gzipped(body):
            answer.headers["Content-Encoding"] = "gzip"
        return answer

    def snapshot(self, list_name: str, feed: str) -> Response:
        """Answer with the newest stored snapshot: a delta from nothing to its version."""
        _, release = self._services.released(list_name, feed)
        if release.snapshot is None:
            raise Problem(NOT_FOUND, "no snapshot is stored")
        version, blob = release.snapshot
        if answers.holds(blob.sha256):
            return answers.not_modified(blob.sha256, REVALIDATE)
        objects = self._services.reader.objects
        found = objects.blob(list_name, release.feed, blob, MAX_OBJECT_BYTES)
        if found is None:
            raise Problem(NOT_FOUND, "the snapshot is not stored any more")
        answer = answers.data(found, answers.OCTETS, REVALIDATE, blob.sha256)
        answer.headers[VERSION_HEADER] = str(version)
        return answer


def _unchanged(offer: Offer) -> Response:
    return answers.not_modified(offer.etag, REVALIDATE)


def _applied(answer: Response, seconds: int) -> Response:
    """Say that the request was ready to wait, and for how long we took that (RFC 7240, 3)."""
    if seconds:
        answer.headers["Preference-Applied"] = f"wait={seconds}"
    return answer


def _step() -> Step:
    args = request.args
    return Step(
        have=params.number(args, "from"),
        root=params.number(args, "root"),
        targets=params.number(args, "targets"),
        timestamp=params.number(args, "timestamp"),
    )


def _behind(offer: Offer, step: Step) -> bool:
    """Tell whether the caller says that it has seen more than this."""
    head = offer.live.head
    ours = (head.root.version, head.timestamp.version, offer.version)
    says = [(step.root, step.timestamp, step.have), *params.versions_held(request, 3)]
    above = any(theirs > mine for held in says for theirs, mine in zip(held, ours, strict=True))
    return above or step.targets > head.targets.version


def _news(offer: Offer, step: Step) -> bool:
    """Tell whether to answer with a document; a validator outranks the parameters."""
    if answers.conditional():
        return not answers.holds(offer.etag) or step.root < offer.live.head.root.version
    return offer.news(step)


def _summary(live: Live, list_name: str, feed: Feed) -> dict[str, Any]:
    """Return a feed's entry in the index; `version` is null where nothing can be had."""
    try:
        release = live.release(list_name, feed)
    except NotServable:
        release = None
    if release is None:
        return {"list": list_name, "feed": feed.value, "version": None}
    return _describe(live, release)


def _describe(live: Live, release: FeedRelease) -> dict[str, Any]:
    return {
        "list": release.list,
        "feed": release.feed.value,
        "version": release.version,
        "entries": release.facts.entries,
        "created": format_time(release.facts.created),
        "expires": format_time(live.roles[release.list].signed.expires),
        "digest": release.content.sha256,
        "length": release.content.length,
    }
