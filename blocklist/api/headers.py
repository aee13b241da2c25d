"""Headers of every answer, in one place.

Nothing may be kept by a cache unless a route says so. The rest keeps a browser from making anything
of our bytes, should one ever be pointed here (OWASP REST security headers). A 304 has no bytes of
its own and repeats only what RFC 9110, 15.4.5 asks for: it is the answer that is sent most.
"""

from flask import Flask, Response

NO_STORE = "no-store"
REVALIDATE = "private, no-cache"  # may be kept, must be asked about
IMMUTABLE = "private, max-age=31536000, immutable"  # RFC 8246; never changes under its name

CALLER = "Authorization"  # Vary: of every answer
CALLER_AND_CODING = "Authorization, Accept-Encoding"  # Vary: where gzip is on offer

_ALWAYS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def register(app: Flask) -> None:
    """Add the headers to every answer of the app."""
    app.after_request(_add)


def _add(answer: Response) -> Response:
    if answer.status_code != 304:
        answer.headers.extend(_ALWAYS)
    answer.headers.setdefault("Cache-Control", NO_STORE)
    answer.headers.setdefault("Vary", CALLER)
    return answer
