"""Squid's external ACL protocol: is what a client asks for listed?

    [channel] request [more]            from Squid, a line each, percent-escaped once
    [channel] OK tag=LIST message=LIST/VERSION blocklist_=listed
    [channel] ERR                       not listed
    [channel] BH message="reason"       cannot be judged; Squid asks again, then denies

`request` is what `%#>ru` gives: a URL, or `host:port` of a CONNECT, or a bare name (`%ssl::>sni`).
Of the last two only the host is known: entries on paths say nothing about it. `%URI` escapes less,
so that `#` and `%23` look the same: a client could hide a path behind a fragment, which Squid
passes on to the origin.

There is no state besides the lists: a helper can be killed at any moment. Nothing that it says
holds what was asked for.
"""

import re
import time
from collections.abc import Callable
from typing import BinaryIO, Final
from urllib.parse import unquote_to_bytes

from blocklist.core.errors import BadUrl, BlocklistError, Undecided
from blocklist.subscriber import settings
from blocklist.subscriber.matcher import Blocklist, Match

MAX_LINE_BYTES: Final = 2**16  # Squid takes URLs of 8 KiB, escaped thrice as long

_CHANNEL = re.compile(rb"(\d+)(?: +|$)")
_PORT = re.compile(r"(?<=[^:]):[0-9]{1,5}\Z")  # not of a bare IPv6 address
_NOT_LISTED = b"ERR"
_UNDECIDED = b"OK message=undecided blocklist_=listed"
_NOT_UNDERSTOOD = b'BH message="request not understood"'
_NO_LIST = b'BH message="no list in force"'
_FAILED = b'BH message="internal error"'


class Helper:
    """Answers requests from the lists in force; opens them when they are first needed.

    Args:
        open_lists: Opens the lists. While it raises, nothing is judged, and it is tried again at
            most once a second.
        complain: Takes one line for the operator; the same one at most once a minute.
        allow_undecided: Let pass what cannot be judged, instead of taking it as listed.
    """

    def __init__(
        self,
        open_lists: Callable[[], Blocklist],
        complain: Callable[[str], None],
        *,
        allow_undecided: bool = False,
    ) -> None:
        self._open_lists = open_lists
        self._complain = complain
        self._undecided = _NOT_LISTED if allow_undecided else _UNDECIDED
        self._lists: Blocklist | None = None
        self._next_try = 0.0
        self._complained: dict[str, float] = {}

    def prepare(self) -> None:
        """Open the lists now, so that trouble is told before the first request."""
        self._in_force()

    def answer(self, line: bytes) -> bytes:
        """Return the answer to one line, both without line feed; never raises."""
        found = _CHANNEL.match(line)
        channel = found[1] + b" " if found else b""
        fields = line[found.end() if found else 0 :].split()
        return channel + (self._judged(fields[0]) if fields else self._not_understood())

    def too_long(self, start: bytes) -> bytes:
        """Return the answer to a line beyond the limit, of which this is the start."""
        found = _CHANNEL.match(start)
        return (found[1] + b" " if found else b"") + self._not_understood()

    def _judged(self, request: bytes) -> bytes:
        lists = self._in_force()
        if lists is None:
            return _NO_LIST
        text = unquote_to_bytes(request).decode("utf-8", "surrogateescape")
        try:
            match = lists.match(text) if "://" in text else lists.match_host(_without_port(text))
        except Undecided:
            return self._undecided
        except BadUrl:
            return self._not_understood()
        except (BlocklistError, OSError) as error:
            self._tell(f"THE LIST CANNOT BE READ, requests are refused: {error}")
            return _NO_LIST
        except Exception as error:  # Squid needs an answer; the text could hold what was asked
            self._tell(f"internal error, please report it: {type(error).__name__}")
            return _FAILED
        return _listed(match) if match is not None else _NOT_LISTED

    def _in_force(self) -> Blocklist | None:
        now = time.monotonic()
        if self._lists is None and now >= self._next_try:
            self._next_try = now + settings.FOLLOW_SECONDS
            try:
                self._lists = self._open_lists()
            except (BlocklistError, OSError) as error:
                self._tell(f"NO LIST IN FORCE, every request is refused: {error}")
        return self._lists

    def _not_understood(self) -> bytes:
        self._tell("a request could not be understood; Squid denies it")
        return _NOT_UNDERSTOOD

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        last = self._complained.get(text)
        if last is None or now - last >= settings.COMPLAIN_SECONDS:
            self._complained[text] = now
            self._complain(text)


def serve(helper: Helper, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer line by line, each at once, until Squid closes its end.

    Args:
        helper: Who judges.
        requests: What Squid writes; a last line that is cut off is not answered.
        answers: What Squid reads.
    """
    helper.prepare()
    while line := requests.readline(MAX_LINE_BYTES):
        if line.endswith(b"\n"):
            answer = helper.answer(line.rstrip(b"\r\n"))
        elif _skipped(requests):
            answer = helper.too_long(line)
        else:
            return
        try:
            answers.write(answer + b"\n")
            answers.flush()
        except BrokenPipeError:
            return


def _skipped(requests: BinaryIO) -> bool:
    """Read on to the end of a line; tell whether it has one."""
    while rest := requests.readline(MAX_LINE_BYTES):
        if rest.endswith(b"\n"):
            return True
    return False


def _listed(match: Match) -> bytes:
    return f"OK tag={match.list} message={match.list}/{match.version} blocklist_=listed".encode()


def _without_port(text: str) -> str:
    bare = _PORT.sub("", text)
    # `::1` keeps its groups: only a name, a dotted quad or `[..]` may be followed by a port.
    return bare if ":" not in bare or bare.endswith("]") else text
