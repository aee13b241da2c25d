"""The `[api]` table: what may stand in it."""

from pathlib import Path

import pytest

from blocklist.api.settings import MAX_CONFIG_BYTES, ApiSettings
from blocklist.core.errors import InputError


def read(path: Path, text: str | bytes) -> ApiSettings:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return ApiSettings.from_environment({"BLOCKLIST_CONFIG": str(path)})


def test_without_a_file_the_defaults_count() -> None:
    settings = ApiSettings.from_environment({})
    assert settings == ApiSettings()
    assert (settings.requests_per_minute, settings.unauthenticated_per_minute) == (600, 60)
    assert settings.trusted_proxies == 0
    assert settings.connections > 5_000
    assert ApiSettings.from_environment({"BLOCKLIST_CONFIG": ""}) == settings


def test_the_table_is_read_and_those_of_others_are_not(tmp_path: Path) -> None:
    text = "[api]\nrequests_per_minute = 5\ntrusted_proxies = 2\n[publisher]\nx = 1\n"
    assert read(tmp_path / "c", text) == ApiSettings(requests_per_minute=5, trusted_proxies=2)
    assert read(tmp_path / "c", "[publisher]\n") == ApiSettings()


@pytest.mark.parametrize(
    "line",
    ["unknown = 1", "requests_per_minute = 0", "requests_per_minute = true",
     "requests_per_minute = 1.0", 'requests_per_minute = "1"', "requests_per_minute = -1",
     "requests_per_minute = 1000001", "trusted_proxies = -1", "send_seconds = nan"],
)  # fmt: skip
def test_other_settings_and_values_are_refused_by_name(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match=f"api.{line.partition(' ')[0]}"):
        read(tmp_path / "c", f"[api]\n{line}\n")


@pytest.mark.parametrize(
    "text",
    ["api = 1", "[api", b"\xff", "[[api]]", "[apii]", "x = 1", "#" * (MAX_CONFIG_BYTES + 1)],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(InputError, match="expected"):
        read(tmp_path / "c", text)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        ApiSettings.from_environment({"BLOCKLIST_CONFIG": str(tmp_path / "none")})
