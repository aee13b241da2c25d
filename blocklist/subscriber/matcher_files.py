"""Matcher files of an installed feed: made by pulls, made again when they are missing or damaged.

A pull makes the file before its version is in force, so readers find it. A state of an older
program has none: the next pull makes it, and so does a reader of the user whom the folder belongs
to (another's file would not be readable for all). Who may not write answers from the list bytes,
with the reference index: the same verdicts, more slowly. These are read into memory, verified,
where no truncation reaches them.
"""

import logging
import os
from contextlib import suppress

from blocklist.core import matcherfile
from blocklist.core.entries import Feed
from blocklist.core.errors import LocalError
from blocklist.core.hashing import HashKey
from blocklist.core.matching import ClearIndex, HashedIndex, Index
from blocklist.store.localfiles import write_atomic
from blocklist.subscriber.fastindex import Damaged, FastIndex
from blocklist.subscriber.installed import LIST_MODE, FeedFolder, Version

_LOG = logging.getLogger(__name__)


def write(folder: FeedFolder, version: Version, data: bytes, key: HashKey) -> None:
    """Make the matcher file of verified list bytes, atomically.

    Args:
        folder: Of the feed.
        version: Which version.
        data: Its list bytes.
        key: What `matcherfile.record_key` gives.

    Raises:
        LocalError: The disk refuses; what was there stays.
    """
    encoded = matcherfile.encode(_feed(version), data, version.digest, key)
    write_atomic(folder.matcher_file(version), encoded, mode=LIST_MODE)


def whole(folder: FeedFolder, version: Version, key: HashKey) -> bool:
    """Tell whether the matcher file of a version is there and every block of it is intact."""
    try:
        FastIndex.open(folder.matcher_file(version), version.digest, key).verify()
    except Damaged:
        return False
    return True


def open_index(
    folder: FeedFolder, version: Version, key: HashKey, *, distrusted: bool = False
) -> Index:
    """Return an index of a version: the fast one, if need be after making its file again.

    Args:
        folder: Of the feed.
        version: Which version.
        key: What `matcherfile.record_key` gives.
        distrusted: The file turned out to be damaged, even if its front still looks well.

    Raises:
        FileNotFoundError: The list bytes are gone; perhaps a newer version is in force by now.
        NotInstalled: The list bytes are damaged.
        LocalError: They cannot be read.
    """
    path = folder.matcher_file(version)
    if not distrusted:
        with suppress(Damaged):
            return FastIndex.open(path, version.digest, key)
    data = folder.load_intact(version)
    if _is_ours(folder):
        try:
            write(folder, version, data, key)
        except LocalError as error:
            _LOG.warning("the matcher file cannot be made again: %s", error)
    with suppress(Damaged):
        index = FastIndex.open(path, version.digest, key)
        index.verify()
        return index
    _LOG.warning("%s is missing or damaged: URLs are checked slowly until the next pull", path)
    return ClearIndex(data) if _feed(version) is Feed.CLEAR else HashedIndex(data, key)


def _is_ours(folder: FeedFolder) -> bool:
    """Tell whether the folder belongs to this user."""
    with suppress(OSError):
        return folder.path.stat().st_uid == os.geteuid()
    return False


def _feed(version: Version) -> Feed:
    return Feed.CLEAR if version.hash_key_id is None else Feed.HASHED
