"""Check URLs as people and scripts write them, defanged or not."""

from collections.abc import Iterable
from dataclasses import dataclass

from blocklist.core.defang import refang
from blocklist.core.entries import Kind
from blocklist.core.errors import BadUrl, BlocklistError
from blocklist.subscriber.exceptions import Excepted
from blocklist.subscriber.matcher import Blocklist, Match

UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdict on one URL.

    Attributes:
        url: As it was given.
        listed: None when it cannot be judged; `error` says why.
        list, kind, version: Of the entry that covers it, None when it is not listed.
        error: Code such as `empty-host`, or `undecided`; None for a verdict.
        reason: The same in words, for people.
        exception: The local exception that spares it, listed or not; None without one.
    """

    url: str
    listed: bool | None
    list: str | None = None
    kind: Kind | None = None
    version: int | None = None
    error: str | None = None
    reason: str | None = None
    exception: Excepted | None = None


def check(blocklist: Blocklist, urls: Iterable[str]) -> list[Checked]:
    """Return the verdict on each URL, in order."""
    given = list(urls)
    answers = blocklist.match_many(refang(url) for url in given)
    return [_checked(blocklist, *pair) for pair in zip(given, answers, strict=True)]


def _checked(blocklist: Blocklist, url: str, answer: Match | BlocklistError | None) -> Checked:
    if isinstance(answer, Match):
        return Checked(url, True, answer.list, answer.kind, answer.version)
    if answer is None:
        return Checked(url, False, exception=blocklist.exception(refang(url)))
    code = answer.code if isinstance(answer, BadUrl) else UNDECIDED
    return Checked(url, None, error=code, reason=str(answer))
