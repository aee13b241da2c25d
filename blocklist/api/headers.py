"""Headers of every answer, in one place.

Nothing may be kept by a cache unless a route says so. The rest keeps a browser from making anything
of our bytes, should one ever be pointed here (OWASP REST security headers).
"""

from flask import Flask, Response

NO_STORE = "no-store"
REVALIDATE = "private, no-cache"  # may be kept, must be asked about
IMMUTABLE = "private, max-age=31536000, immutable"  # RFC 8246; never changes under its name

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
    for name, value in _ALWAYS.items():
        answer.headers[name] = value
    answer.headers.setdefault("Cache-Control", NO_STORE)
    answer.vary.add("Authorization")
    return answer
