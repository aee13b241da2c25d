"""What an audit found: everything that is wrong, by version, in one run."""

from dataclasses import dataclass, field

from blocklist.core.errors import BlocklistError, StoreUnreachable
from signing.errors import TrustError


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        version: The release that it is wrong with; 0 for all of the list.
        text: What is wrong, without any listed URL.
    """

    version: int
    text: str


@dataclass(slots=True)
class Report:
    """What an audit found.

    Attributes:
        name: The list.
        first, last: The oldest and newest release that was looked at; 0 for none.
        digest: Digest of the role file of the newest: that one vouches for all the others.
        checked: Counts by what was checked.
        found: What is wrong; empty when all is well.
        notes: What could not be proven, and why that is no problem by itself.
    """

    name: str
    first: int = 0
    last: int = 0
    digest: str = ""
    checked: dict[str, int] = field(default_factory=dict)
    found: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[Problem]:
        """What is wrong, newest version first; what is wrong with all of the list stands first."""
        return sorted(self.found, key=lambda one: (one.version > 0, -one.version))

    def count(self, what: str, number: int = 1) -> None:
        """Count what was checked."""
        self.checked[what] = self.checked.get(what, 0) + number

    def problem(self, version: int, text: str) -> None:
        """Note that something is wrong."""
        self.found.append(Problem(version, text))

    def expect(self, good: bool, version: int, text: str) -> None:
        """Note that something is wrong unless it is good."""
        if not good:
            self.problem(version, text)

    def noting(self, version: int, what: str = "") -> "Noting":
        """Note a failure of the block as a problem and go on; see `Noting`."""
        return Noting(self, version, what)


@dataclass(frozen=True, slots=True)
class Noting:
    """A block whose failures are problems of a release.

    A storage that does not answer says nothing about the list: StoreUnreachable passes.
    """

    report: Report
    version: int
    what: str

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Note what went wrong."""
        if not isinstance(error, BlocklistError | TrustError) or isinstance(
            error, StoreUnreachable
        ):
            return False
        text = f"{self.what}: {error}" if self.what else str(error)
        self.report.problem(self.version, text)
        return True
