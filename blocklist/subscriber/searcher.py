"""Answers from one index, fast where nothing is listed: which is nearly always.

Most requests go to hosts without any entry. What stands before the path of such a URL
(`https://host`) is remembered in `clean`, and whoever asks looks there first (`Blocklist.match`).
Everything else goes through `core.matching.find`, which decides for all.

Safe for threads: a set in CPython takes additions from several of them.
"""

from blocklist.core.canonical import plain_host
from blocklist.core.entries import Kind
from blocklist.core.matching import Index, find, find_host
from blocklist.subscriber import settings
from blocklist.subscriber.fastindex import FastIndex

AFTER_SCHEME = len("https://")


class Searcher:
    """Answers from one index.

    Attributes:
        clean: Beginnings of URLs (`start`) after which nothing is listed, if the URL is ASCII.
    """

    __slots__ = ("_clean_names", "_fast", "_index", "clean")

    def __init__(self, index: Index) -> None:
        self._index = index
        self._fast = index if isinstance(index, FastIndex) else None
        self.clean: set[str] = set()
        self._clean_names: set[str] = set()

    def find(self, url: str) -> Kind | None:
        """Return the kind of the widest entry that covers a URL; raises as `matching.find`.

        Raises:
            Damaged: The matcher file is; ask another searcher.
        """
        if self._fast is not None and url.isascii():
            before_path = start(url)
            host = plain_host(before_path.lower())
            if host is not None and self._fast.nothing_on(host):
                _remember(self.clean, before_path)
                return None
        return find(self._index, url)

    def find_host(self, name: str) -> Kind | None:
        """Return the kind of the entry that covers all of a bare host; raises as `find_host`.

        Raises:
            Damaged: The matcher file is; ask another searcher.
        """
        if name in self._clean_names:
            return None
        if self._fast is not None and plain_host(name) == name and self._fast.nothing_on(name):
            _remember(self._clean_names, name)
            return None
        return find_host(self._index, name)


def start(url: str) -> str:
    """Return what may be scheme and authority of a URL: up to the first slash after these."""
    end = url.find("/", AFTER_SCHEME)
    return url[:end] if end > 0 else url


def _remember(clean: set[str], text: str) -> None:
    if len(clean) >= settings.MAX_CLEAN_HOSTS:
        clean.clear()
    clean.add(text)
