"""`/v1/lists/<list>/<feed>/diff?from=N[&to=M]`: what differs, for people and scripts.

Without `to` it is the live version, and the answer must be asked about again; with it the answer
never changes. What cannot be told any more, or is too much, is a 303 to the snapshot.
"""

from flask import Flask, Response, request
from werkzeug.datastructures import MIMEAccept

from blocklist.api import answers, params
from blocklist.api.diffing.chain import Gone
from blocklist.api.diffing.diffs import FORMS, Form, NeverReleased, Wanted
from blocklist.api.headers import CALLER, IMMUTABLE, REVALIDATE
from blocklist.api.heavy import TooBusy
from blocklist.api.lists import VERSION_HEADER
from blocklist.api.live import Live
from blocklist.api.problems import BAD_REQUEST, BUSY, NOT_ACCEPTABLE, NOT_FOUND, Problem
from blocklist.api.services import Services

DIFF_PARAMETERS = frozenset({"from", "to"})

MAX_ACCEPT_CHARS = 1_024  # of `Accept`, joined; beyond it the header is ignored, as `Prefer` is

_SNAPSHOT = "snapshot"  # relative: next to `diff`, wherever a proxy has put us
_VARY = f"{CALLER}, Accept"
_RETRY_SECONDS = "5"
_CONTENT_TYPES = {Form.TEXT: "text/plain; charset=utf-8"}


class DiffRoutes:
    """The route, on one app's services."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def register(self, app: Flask) -> None:
        """Add the route."""
        app.add_url_rule("/v1/lists/<list_name>/<feed>/diff", "diff", self.diff)

    def diff(self, list_name: str, feed: str) -> Response:
        """Answer with what differs between two versions of a feed."""
        offer, release = self._services.released(list_name, feed)
        start, end = _versions()
        form = negotiate(_accepted(), FORMS[offer.feed])
        wanted = Wanted(offer.list, offer.feed, form, start, end or release.version)
        if not wanted.start <= wanted.end <= release.version:
            raise _unknown()
        try:
            answer = self._answer(offer.live, wanted, IMMUTABLE if end else REVALIDATE)
        except NeverReleased:
            raise _unknown() from None
        except TooBusy as error:
            retry = {"Retry-After": _RETRY_SECONDS}
            raise Problem(BUSY, "too many diffs are being computed", retry) from error
        except Gone:
            answer = Response(status=303, headers={"Location": _SNAPSHOT})
        answer.headers["Vary"] = _VARY
        return answer

    def _answer(self, live: Live, wanted: Wanted, cache: str) -> Response:
        diffs = self._services.diffs
        etag = diffs.name(live, wanted)
        if answers.holds(etag):
            return answers.not_modified(etag, cache)
        content_type = _CONTENT_TYPES.get(wanted.form, wanted.form.value)
        answer = answers.whole(diffs.body(live, wanted), content_type, cache, etag)
        answer.headers[VERSION_HEADER] = str(wanted.end)
        return answer


def negotiate(accept: MIMEAccept, forms: tuple[Form, ...]) -> Form:
    """Return the form that the caller likes most, the first of equals (RFC 9110, 12.5.1).

    Raises:
        Problem: 406: none of them.
    """
    if not accept:
        return forms[0]
    best = max(forms, key=lambda form: _quality(accept, form))  # the first of equals
    if _quality(accept, best) <= 0:
        raise Problem(NOT_ACCEPTABLE, f"expected Accept to allow {' or '.join(forms)}")
    return best


def _quality(accept: MIMEAccept, form: Form) -> float:
    """Return what the most specific range that fits says; parameters of media types are ignored."""
    ranks = {form.value: 2, f"{form.partition('/')[0]}/*": 1, "*/*": 0}
    fits = [
        (ranks[media], quality)
        for value, quality in accept
        if (media := value.partition(";")[0].strip().lower()) in ranks
    ]
    return max(fits)[1] if fits else 0


def _accepted() -> MIMEAccept:
    """Return what the caller accepts; nothing in particular when that takes long to say."""
    if len(request.headers.get("Accept", "")) > MAX_ACCEPT_CHARS:
        return MIMEAccept()
    return request.accept_mimetypes


def _versions() -> tuple[int, int | None]:
    """Return `from`, and `to` if it is given."""
    args = request.args
    if "from" not in args:
        raise Problem(BAD_REQUEST, "expected the parameter from")
    start = params.number(args, "from")
    end = params.number(args, "to") if "to" in args else None
    if end == 0:
        raise Problem(BAD_REQUEST, "expected to as a number from 1 to 2^53 - 1")
    return start, end


def _unknown() -> Problem:
    return Problem(NOT_FOUND, "expected two versions that were released, from not above to")
