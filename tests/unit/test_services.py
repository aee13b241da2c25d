"""A real service that is missing: said aloud by a person's run, a failure in CI."""

import pytest

from tests import services


@pytest.fixture(autouse=True)
def missing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What is missing in these tests, which the summary of the run must not name."""
    found: set[str] = set()
    monkeypatch.setattr(services, "_missing", found)
    return found


def test_where_services_are_required_a_missing_one_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(services.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="expected a real S3 server: no root"):
        services.absent("S3 server", "no root")


def test_elsewhere_its_tests_are_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, missing: set[str]
) -> None:
    monkeypatch.delenv(services.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no real S3 server"):
        services.absent("S3 server", "no root")
    assert missing == {"S3 server: no root"}


def test_a_server_that_cannot_be_started_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Impossible:
        def start(self) -> None:
            raise services.Unavailable("no package")

        def stop(self) -> None:
            raise AssertionError("it never ran")

    monkeypatch.setenv(services.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="no package"):
        services.started(Impossible(), "S3 server")
