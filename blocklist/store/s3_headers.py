"""What an object is delivered with when a bucket or a CDN hands it out by itself.

Source: docs/spec.md, 10. Objects never change under their names (RFC 8246), but for the timestamp.
What needs a token may not be kept by shared caches (RFC 9111, 5.2.2.7).
"""

from blocklist.core.entries import Feed
from blocklist.store.layout import FEED, METADATA, TARGETS, TIMESTAMP

YEAR_SECONDS = 31_536_000

_LONG = f"max-age={YEAR_SECONDS}, immutable"
_TYPES = {".json": "application/json", ".gz": "application/gzip"}
_OCTETS = "application/octet-stream"


def cache_control(key: str) -> str:
    """Return who may keep the object, and for how long."""
    if key == TIMESTAMP:
        return "no-cache"
    if not key.startswith(FEED):
        return "no-store"
    feed = key.removeprefix(TARGETS).split("/")[1:2]
    return (
        f"public, {_LONG}"
        if key.startswith(METADATA) or feed == [Feed.HASHED]
        else (f"private, {_LONG}")
    )


def content_type(key: str) -> str:
    """Return the media type, by the end of the key."""
    return next((kind for end, kind in _TYPES.items() if key.endswith(end)), _OCTETS)
