"""Programs of the operator: the daemon's own checker, and the hook that makes it read again.

They are started without a shell. `{file}` and `{zone}` in their words are replaced. What they
print is dropped, because checkers quote the names that they complain about.
"""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence

from blocklist.core.errors import InputError

CHECK_SECONDS = 120.0  # ten times what a million names take
HOOK_SECONDS = 60.0
AUTOMATIC, NOTHING = "auto", "none"

# As strict with names as named is when it loads a zone; the zone has no other servers to look for.
_CHECKZONE = ("named-checkzone", "-q", "-k", "fail", "-i", "none", "{zone}", "{file}")
_SYSTEM = "/usr/sbin:/sbin:/usr/local/sbin"  # daemons' programs are there, and often not in PATH


def split(command: str) -> tuple[str, ...]:
    """Return the words of a command line.

    Raises:
        InputError: It is empty, or a quote is missing.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise InputError(f"expected a command line: {error}") from error
    if not words:
        raise InputError("expected a command line, got an empty one")
    return words


def checker(command: str) -> tuple[str, ...] | None:
    """Return the words of a checker: `auto` finds BIND's, `none` is none; None: there is none."""
    if command == NOTHING:
        return None
    if command == AUTOMATIC:
        return _CHECKZONE if _find(_CHECKZONE[0]) else None
    return split(command)


def failure(words: Sequence[str], values: Mapping[str, str], seconds: float) -> str | None:
    """Run a program; return how it failed, None when it did not.

    Args:
        words: The program and its arguments.
        values: What `{NAME}` stands for in them.
        seconds: How long it may take; then all of it is ended.
    """
    argv = [_filled(word, values) for word in words]
    program = _find(argv[0])
    if program is None:
        return f"{argv[0]} is not installed"
    try:
        child = subprocess.Popen(  # noqa: S603 - the operator's own command line, without a shell
            [program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"{argv[0]} cannot be started: {error.strerror}"
    try:
        code = child.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"{argv[0]} took longer than {seconds:g} s"
    finally:
        if child.returncode is None:  # too slow, or we are being ended ourselves
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return f"{argv[0]} ended with {code}" if code else None


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_SYSTEM}")
