"""Guard files: what is read, what stops everything, and when two machines agree."""

from pathlib import Path

import pytest

from blocklist.core.errors import InputError
from blocklist.publisher.guards import Change, GuardFiles, find
from blocklist.publisher.settings import Settings

KINDS = ("protected_file", "platforms_file", "allow_file")
NOTHING: frozenset[bytes] = frozenset()


def loaded(folder: Path, setting: str, text: str | bytes) -> GuardFiles:
    path = folder / "names.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return GuardFiles.load(Settings(**{setting: str(path)}))


def found(files: GuardFiles, *lines: bytes) -> list[str]:
    return [finding.guard for finding in find(Change(9, 9, lines), Settings(), files)]


def test_protected_and_platforms_add_to_what_ships(tmp_path: Path) -> None:
    both = (b"d iana.org", b"h docs.google.com")
    assert found(GuardFiles.load(Settings()), *both) == ["protected", "shared-platform"]
    for setting in KINDS:
        assert found(loaded(tmp_path, setting, "own.example\n"), *both)[:2] == [
            "protected",
            "shared-platform",
        ]


@pytest.mark.parametrize(
    ("setting", "guard"),
    [(KINDS[0], "protected"), (KINDS[1], "shared-platform"), (KINDS[2], "allow-file")],
)
def test_the_words_are_those_of_sources(tmp_path: Path, setting: str, guard: str) -> None:
    text = "\ufeff# ours\r\nhxxp://own[.]example/watch  # a page\r\n.Tree.Example\r\n"
    files = loaded(tmp_path, setting, text)
    assert found(files, b"u own.example/watch") == [guard]
    assert found(files, b"h a.tree.example") == [guard]
    assert found(files, b"h own.example.test") == []


@pytest.mark.parametrize("setting", KINDS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.example\n*.b.example\n\nc.example:80\n", r"line 2: .*\n  line 4: "),
        (b"a.example\n\xff\xfe\n", "expected UTF-8 text"),
        (b"a.example\0\n", "NUL byte in line 1"),
        ("x" * 20_000, "expected lines of at most"),
    ],
    ids=["bad-lines", "encoding", "nul", "overlong"],
)
def test_a_file_that_does_not_parse(
    tmp_path: Path, setting: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        loaded(tmp_path, setting, content)
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(f"{tmp_path / 'names.txt'} (publisher.{setting}): ")
    assert "b.example" not in str(caught.value)


@pytest.mark.parametrize("setting", KINDS)
def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path, setting: str) -> None:
    with pytest.raises(InputError, match=f"publisher.{setting}.: expected a file, there is none"):
        GuardFiles.load(Settings(**{setting: str(tmp_path / "none.txt")}))
    with pytest.raises(InputError, match=f"publisher.{setting}"):
        GuardFiles.load(Settings(**{setting: str(tmp_path)}))


def test_machines_with_the_same_files_have_the_same_digest(tmp_path: Path) -> None:
    first = loaded(tmp_path, "protected_file", "a.example\nb.example\n")
    again = loaded(tmp_path, "protected_file", "# other words\nb.example\na.example\n")
    assert first.digest == again.digest
    digests = {loaded(tmp_path, setting, "a.example\n").digest for setting in KINDS}
    assert len(digests | {first.digest, GuardFiles.load(Settings()).digest}) == 5


def test_an_entry_in_another_file_is_another_digest() -> None:
    one, two = frozenset({b"h a.example"}), frozenset({b"h b.example"})
    made = {
        GuardFiles.of(*sets).digest
        for sets in [(one, two, NOTHING), (two, one, NOTHING), (one, NOTHING, two)]
    }
    assert len(made) == 3


def test_an_empty_file_is_no_error(tmp_path: Path) -> None:
    assert loaded(tmp_path, "allow_file", "").digest == GuardFiles.load(Settings()).digest
