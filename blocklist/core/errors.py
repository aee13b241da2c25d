"""Every error of the product, and the one table of exit codes.

    BlocklistError
    |- InputError             what the caller gave us is wrong
    |  |- BadUrl              a URL that cannot be understood
    |  |  `- UrlLimit         host known, path or query beyond a limit
    |  |- BadSource           a source file that cannot be published
    |  `- UnknownList
    |- GuardRefused           a release that would do harm
    |- FeedError              somebody else's bytes are wrong
    |  |- MalformedFeed
    |  |- DigestMismatch
    |  `- UnknownFormat       needs a newer client
    |- TransportError         could not get the bytes
    |  `- NotAuthorised
    |- StoreError             the storage behind the publisher
    |  |- StoreUnreachable
    |  |- TooLarge            an object beyond what is read
    |  `- OutcomeUnknown
    `- LocalError             this machine: disk, permissions, locks
       |- Busy
       |- Undecided           a URL that cannot be judged (never "not listed")
       |- NotInstalled
       |- ExportRefused       an export that would do harm; the old one stays live
       |- ExportPending       written, but not proven to be in force
       `- HookFailed          of `watch`

`signing.errors` has the trust outcomes; they carry the same three attributes.
Messages say what was expected and where; they never hold a listed URL.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line (documented in README and docs/operating.md)."""

    DONE = 0
    LISTED = 1  # only from `check`
    USAGE = 2  # usage or bad input
    UNREACHABLE = 10
    STALE = 11
    ROLLBACK = 12
    TAMPERED = 13
    MALFORMED = 14
    NOT_AUTHORISED = 15
    NEEDS_NEWER_CLIENT = 16
    GUARD = 20
    LOST_RACE = 21
    OUTCOME_UNKNOWN = 22
    BUSY = 23
    SIGNATURES_MISSING = 24
    LOCAL = 30
    EXPORT_REFUSED = 31
    HOOK_FAILED = 32
    NOT_BLOCKING = 33  # only from `selftest`, as the next
    INCONCLUSIVE = 34
    INTERNAL = 70


class BlocklistError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        exit_code: What the command line exits with.
        http_status: What the API answers with.
        retryable: Whether the same call may succeed later without a change.
    """

    exit_code: Exit = Exit.INTERNAL
    http_status: int = 500
    retryable: bool = False


class InputError(BlocklistError):
    """The caller's input is wrong."""

    exit_code = Exit.USAGE
    http_status = 400


class BadUrl(InputError):
    """A URL that cannot be understood.

    Attributes:
        code: Stable machine word, such as `empty-host`.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class UrlLimit(BadUrl):
    """A URL whose host can be judged but whose path or query is beyond a limit."""


class BadSource(InputError):
    """A source file that cannot be published as it is."""


class UnknownList(InputError):
    """A list name that does not exist here."""

    http_status = 404


class GuardRefused(BlocklistError):
    """A guard refused the release.

    Attributes:
        code: Guard code, such as `shrink`; the word for `--allow`.
    """

    exit_code = Exit.GUARD
    http_status = 409

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class FeedError(BlocklistError):
    """Bytes from a feed are wrong."""

    exit_code = Exit.MALFORMED
    http_status = 502


class MalformedFeed(FeedError):
    """Bytes that do not have the documented layout."""


class DigestMismatch(FeedError):
    """Bytes that do not have the length or digest that signed metadata names."""

    exit_code = Exit.TAMPERED


class UnknownFormat(FeedError):
    """Verified bytes in a format this version does not know."""

    exit_code = Exit.NEEDS_NEWER_CLIENT


class TransportError(BlocklistError):
    """A source could not be reached or did not answer as agreed."""

    exit_code = Exit.UNREACHABLE
    http_status = 503
    retryable = True


class NotAuthorised(TransportError):
    """A source refused the token."""

    exit_code = Exit.NOT_AUTHORISED
    http_status = 401
    retryable = False


class StoreError(BlocklistError):
    """The storage failed."""

    exit_code = Exit.UNREACHABLE
    http_status = 503
    retryable = True


class StoreUnreachable(StoreError):
    """The storage did not answer; nothing was changed."""


class TooLarge(StoreError):
    """An object has more bytes than anything that we would have put there; it was not read."""

    exit_code = Exit.MALFORMED
    retryable = False


class OutcomeUnknown(StoreError):
    """A write may or may not have happened, and reading it back failed."""

    exit_code = Exit.OUTCOME_UNKNOWN


class LocalError(BlocklistError):
    """Something on this machine: disk, permissions, a damaged local file."""

    exit_code = Exit.LOCAL


class Busy(LocalError):
    """Another command holds the lock."""

    exit_code = Exit.BUSY
    retryable = True


class Undecided(LocalError):
    """The URL's host has entries, but its path or query is beyond a limit."""


class NotInstalled(LocalError):
    """No verified list is installed for what was asked."""


class ExportRefused(LocalError):
    """An export was not written: its checker or a limit refused it. The old one stays live."""

    exit_code = Exit.EXPORT_REFUSED


class HookFailed(LocalError):
    """A command of the operator's that `watch` runs after a change failed; it is tried again."""

    exit_code = Exit.HOOK_FAILED
    retryable = True


class ExportPending(LocalError):
    """An export was written, but its hook or probe failed; the next run tries again."""

    exit_code = Exit.HOOK_FAILED
    retryable = True
