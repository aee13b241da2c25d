"""Trust outcomes, one class each; operators see the exit code.

    TrustError
    |- Unreachable            10  could not get the metadata
    |- Stale                  11  metadata has expired (or the clock is ahead)
    |- Rollback               12  older metadata than was seen before
    |- Tampered               13  wrong signature, digest or length, or two truths for one version
    |- Malformed              14  not the documented shape
    |- UnknownRole             2  nobody may sign under that name
    |- Unsafe                  2  a change of keys that would be fragile or odd
    |- LostRace               21  somebody else committed first
    |- Burned                 21  the next number is taken: take the one after it
    |- SignaturesMissing      24  not enough of the right keys
    `- KeyTrouble             30  a key file or the trust directory on this machine

In every one of them what was verified before stays in force.
"""


class TrustError(Exception):
    """Base of all trust outcomes.

    Attributes:
        exit_code: What the command line exits with.
        http_status: What the API answers with.
        retryable: Whether the same call may succeed later without a change.
    """

    exit_code: int = 70
    http_status: int = 500
    retryable: bool = False


class Unreachable(TrustError):
    """Metadata could not be fetched in time."""

    exit_code = 10
    http_status = 503
    retryable = True


class Stale(TrustError):
    """Metadata has expired, or this machine's clock is ahead."""

    exit_code = 11
    http_status = 503
    retryable = True


class Rollback(TrustError):
    """Metadata is older than what was seen before."""

    exit_code = 12
    http_status = 502


class Tampered(TrustError):
    """A signature, digest or length does not match, or one version has two contents."""

    exit_code = 13
    http_status = 502


class Malformed(TrustError):
    """Metadata does not have the documented shape."""

    exit_code = 14
    http_status = 502


class UnknownRole(TrustError):
    """The repository delegates nothing under that name."""

    exit_code = 2
    http_status = 404


class Unsafe(TrustError):
    """A change of keys or thresholds that we do not make: fragile, odd, or of no effect."""

    exit_code = 2
    http_status = 400


class LostRace(TrustError):
    """Another writer moved the head first; nothing of ours is live."""

    exit_code = 21
    http_status = 409
    retryable = True


class Burned(LostRace):
    """Something already stands at the number we wanted; it is never adopted or overwritten.

    Attributes:
        role, version: The number that is taken.
    """

    def __init__(self, role: str, version: int) -> None:
        super().__init__(f"number {version} of {role} is taken")
        self.role = role
        self.version = version


class SignaturesMissing(TrustError):
    """Fewer valid signatures than the role's threshold, or no usable key."""

    exit_code = 24
    http_status = 403


class KeyTrouble(TrustError):
    """A local key file or trust directory cannot be used safely."""

    exit_code = 30
