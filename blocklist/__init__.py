"""Signed, versioned distribution of a URL blocklist.

The validation client in three lines:

    from blocklist import Blocklist

    lists = Blocklist.open("/var/lib/blocklist")
    match = lists.match("http://example.com/page")
"""

from typing import TYPE_CHECKING, Any

from blocklist import version

if TYPE_CHECKING:
    from blocklist.subscriber.matcher import Blocklist, Match
    from blocklist.subscriber.pull import pull

__all__ = ["Blocklist", "Match", "__version__", "pull"]
__version__ = version.VERSION


def __getattr__(name: str) -> Any:
    """Import the library on first use: the API's workers must not import it before gevent."""
    if name in __all__:
        from blocklist import subscriber

        return getattr(subscriber, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
