"""Keys whose private half only a real ssh-agent has."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from signing import agent, keys
from signing.errors import KeyTrouble
from tests.publisher_kit import no_passphrase
from tests.services import program

DATA = b"signed bytes"


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    """A running agent without keys, at a path short enough for a socket."""
    started = program("ssh-agent", "openssh-client")
    folder = Path(tempfile.mkdtemp(prefix="agent"))
    place = folder / "socket"
    process = subprocess.Popen([started, "-D", "-a", str(place)], stdout=subprocess.DEVNULL)
    try:
        while not place.exists():
            assert process.poll() is None
        yield place
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(folder)


@pytest.fixture
def held(socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> keys.KeyFile:
    """A key that was given to the agent and deleted from the disk."""
    monkeypatch.setenv(agent.SOCKET, str(socket))
    made = keys.create(tmp_path / "made" / "card")
    add = program("ssh-add", "openssh-client")
    subprocess.run([add, "-q", str(made.path)], check=True, env={**os.environ})
    made.path.unlink()
    home = tmp_path / "keys"
    keys.register_agent(home / "card", made.public)
    (found,) = keys.find(home)
    return found


def test_the_agent_signs_and_the_public_half_verifies(held: keys.KeyFile) -> None:
    assert held.in_agent
    signature = held.signer(no_passphrase).sign(DATA)
    held.public.verify_signature(signature, DATA)
    written = keys.read_public(Path(f"{held.path}.pub"))
    assert written.keyid == held.public.keyid


def test_a_key_that_the_agent_does_not_have_is_trouble(held: keys.KeyFile, tmp_path: Path) -> None:
    other = keys.create(tmp_path / "other").public
    with pytest.raises(KeyTrouble, match="did not sign") as caught:
        agent.AgentSigner(other).sign(DATA)
    assert caught.value.exit_code == 30


def test_without_an_agent_it_says_so(
    held: keys.KeyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = held.signer(no_passphrase)
    monkeypatch.setenv(agent.SOCKET, str(tmp_path / "none"))
    with pytest.raises(KeyTrouble, match="cannot ask ssh-agent"):
        signer.sign(DATA)
    monkeypatch.delenv(agent.SOCKET)
    with pytest.raises(KeyTrouble, match="SSH_AUTH_SOCK"):
        signer.sign(DATA)


def test_a_key_in_an_agent_overwrites_nothing(held: keys.KeyFile, tmp_path: Path) -> None:
    made = keys.create(tmp_path / "keys" / "mine")
    for name in ("mine", "card"):
        with pytest.raises(KeyTrouble, match="never overwritten"):
            keys.register_agent(tmp_path / "keys" / name, held.public)
    assert made.signer(no_passphrase).sign(DATA)


def test_an_interrupted_registration_is_done_again(tmp_path: Path, held: keys.KeyFile) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "card.agent").touch()
    assert keys.find(tmp_path / "again") == []
    keys.register_agent(tmp_path / "again" / "card", held.public)
    assert [key.in_agent for key in keys.find(tmp_path / "again")] == [True]
