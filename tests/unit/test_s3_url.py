"""Storage URLs of S3: what they name, and what is refused without being repeated."""

from pathlib import Path

import pytest

from blocklist.core.errors import InputError, LocalError
from blocklist.store.port import MAX_KEY_BYTES
from blocklist.store.s3_url import S3Location, parse_s3_url

LONGEST = "/".join(["p" * 127] * 4)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("s3://bucket", S3Location("bucket")),
        ("s3://bucket/", S3Location("bucket")),
        ("s3://b-1.ucket/one/two", S3Location("b-1.ucket", "one/two/")),
        ("s3://bucket/one/", S3Location("bucket", "one/")),
        (f"s3://bucket/{LONGEST}", S3Location("bucket", f"{LONGEST}/")),
        ("s3://bucket?region=eu-west-3", S3Location("bucket", region="eu-west-3")),
        ("s3://bucket?addressing=virtual", S3Location("bucket", addressing="virtual")),
        (
            "s3://bucket/p?endpoint_url=https://s3.example:9000/base&addressing=path",
            S3Location(
                "bucket", "p/", endpoint_url="https://s3.example:9000/base", addressing="path"
            ),
        ),
        (
            "s3://bucket?endpoint_url=http%3A%2F%2F%5B%3A%3A1%5D%3A80",
            S3Location("bucket", endpoint_url="http://[::1]:80"),
        ),
    ],
)
def test_url_names_a_place(url: str, location: S3Location) -> None:
    assert parse_s3_url(url) == location


def test_ca_file_is_found_from_where_the_process_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own ca+.pem").write_bytes(b"x")
    location = parse_s3_url("s3://bucket?ca_file=own%20ca%2B.pem")
    assert location.ca_file == tmp_path / "own ca+.pem"


@pytest.mark.parametrize("name", ["missing.pem", "", "."])
def test_ca_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot read the ca_file"):
        parse_s3_url(f"s3://bucket?ca_file={tmp_path}/{name}")


@pytest.mark.parametrize(
    "place",
    [
        "",
        "/prefix",
        "ab",
        "b" * 64,
        "Bucket",
        "buck_et",
        "-bucket",
        "bucket-",
        "buc..ket",
        "192.0.2.7",
        "user:sesame@bucket",
        "bücket",
        "buc%6bet",
        "bucket//sesame",
        "bucket/sesame//b",
        "bucket/../sesame",
        "bucket/.sesame",
        "bucket/sesame b",
        "bucket/sesam%65",
        "bucket/sesame/#part",
        f"bucket/sesame/{'s' * MAX_KEY_BYTES}",
        "bucket?",
        "bucket?sesame",
        "bucket?region=",
        "bucket?region=sesame;x=y",
        "bucket?region=a&region=sesame",
        "bucket?secret=sesame",
        "bucket?single_writer=sesame",
        "bucket?addressing=sesame",
        "bucket?addressing=PATH&region=sesame",
        "bucket?region=a%20sesame",
        "bucket?ca_file=%00sesame",
        "bucket?endpoint_url=s3.sesame.example",
        "bucket?endpoint_url=ftp://sesame.example",
        "bucket?endpoint_url=file:///sesame",
        "bucket?endpoint_url=https://user:sesame@s3.example",
        "bucket?endpoint_url=https://sesame@s3.example",
        "bucket?endpoint_url=https://s3.example?key=sesame",
        "bucket?endpoint_url=https://s3.example%3Fkey=sesame",
        "bucket?endpoint_url=https://s3.example%23sesame",
        "bucket?endpoint_url=https://sesame.example:port",
        "bucket?endpoint_url=https://sesame.example:99999",
        "bucket?endpoint_url=https://sesame.example:0",
        "bucket?endpoint_url=https://s3.example%0d%0asesame",
        "bucket?endpoint_url=https://[sesame",
        "bucket?endpoint_url=https://",
        "bucket?endpoint_url=https://%5Csesame.example",
    ],
)
def test_other_shapes_are_refused_and_not_repeated(place: str) -> None:
    with pytest.raises(InputError, match="expected") as refused:
        parse_s3_url(f"s3://{place}")
    assert "sesam" not in str(refused.value)


def test_name_has_neither_endpoint_nor_options() -> None:
    url = "s3://bucket/one/two/?endpoint_url=https://s3.example&region=r"
    assert parse_s3_url(url).name == "s3://bucket/one/two"
    assert parse_s3_url("s3://bucket").name == "s3://bucket"
