"""The table of what ran on which daemon, printed at the end.

A test counts as one case of each service that it `used`; one that asks for `case` counts its own.
Both travel with the report of the test, so the table is whole also when tests run in two processes.
"""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.services import USED

Case = Callable[[str, bool], None]

_CASE = "case"
_ran: Counter[str] = Counter()
_passed: Counter[str] = Counter()


@pytest.fixture(name="case")
def _case(request: pytest.FixtureRequest) -> Callable[[str, str], Case]:
    """Return what counts the cases of a target: `case(target, version)(what, passed)`."""

    def of(target: str, version: str) -> Case:
        def count(what: str, passed: bool) -> None:
            request.node.user_properties.append((_CASE, [f"{target} {version}", passed]))
            assert passed, f"{target}: {what}"

        return count

    return of


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the cases of a test of this folder."""
    if report.when != "call" or "/integrations/" not in report.nodeid:
        return
    cases = [value for key, value in report.user_properties if key == _CASE]
    if not cases:
        cases = [[value, report.passed] for key, value in report.user_properties if key == USED]
    for target, passed in cases:
        _ran[target] += 1
        _passed[target] += passed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a row for each target."""
    if _ran:
        terminalreporter.write_line(f"{'target':<20} {'cases':>6} {'passed':>6}")
    for target in sorted(_ran):
        terminalreporter.write_line(f"{target:<20} {_ran[target]:>6} {_passed[target]:>6}")
