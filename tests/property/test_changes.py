"""`changes.between` against sets, on lists that are nearly equal and on any others."""

from hypothesis import given
from hypothesis import strategies as st

from blocklist.core import changes
from blocklist.core.listbytes import encode_clear

LINES = st.builds(
    lambda letter, host, path: f"{letter} {host}.example/{path}".encode(),
    st.sampled_from("hpu"),
    st.text("ab", max_size=3),
    st.sampled_from(["", "a", "x" * 4_100, "x" * 4_100 + "y"]),  # longer than a block, too
)
SETS = st.frozensets(LINES, max_size=12)
PLENTY = 1 << 30


@given(old=SETS, new=SETS)
def test_changes_are_the_differences_of_the_sets(
    old: frozenset[bytes], new: frozenset[bytes]
) -> None:
    found = changes.between(encode_clear(old), encode_clear(new), max_bytes=PLENTY)
    assert found is not None
    assert found.add == sorted(new - old)
    assert found.remove == sorted(old - new)


@given(old=SETS, new=SETS)
def test_the_limit_is_exact(old: frozenset[bytes], new: frozenset[bytes]) -> None:
    size = sum(len(line) + 1 for line in old ^ new)
    before, after = encode_clear(old), encode_clear(new)
    assert changes.between(before, after, max_bytes=size) is not None
    assert changes.between(before, after, max_bytes=size - 1) is None


def test_changes_far_apart_in_a_long_list() -> None:
    lines = [b"h host-%06d.example" % number for number in range(20_000)]
    old, new = frozenset(lines[:-1]), frozenset(lines[1:])
    found = changes.between(encode_clear(old), encode_clear(new), max_bytes=PLENTY)
    assert found == changes.Changes([lines[-1]], [lines[0]])
