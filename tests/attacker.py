"""Somebody who writes anything anywhere into a storage that is a folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Signer

from blocklist.store import layout


@dataclass
class Attacker:
    """Writes anything anywhere into the storage; has a home, and a key that nobody delegated to.

    Attributes:
        store: Folder of the storage.
        stolen: A list signing key, once it is stolen.
    """

    store: Path
    stolen: Signer | None = None

    def keys(self, prefix: str = "") -> list[str]:
        return [
            key
            for top in ("feed", "private")
            for path in (self.store / top).rglob("*")
            if path.is_file()
            and (key := path.relative_to(self.store).as_posix()).startswith(prefix)
        ]

    def get(self, key: str) -> bytes:
        return (self.store / key).read_bytes()

    def put(self, key: str, data: bytes) -> None:
        (self.store / key).parent.mkdir(parents=True, exist_ok=True)
        (self.store / key).write_bytes(data)

    def remove(self, *found: str) -> None:
        for key in found:
            (self.store / key).unlink()

    def everything(self) -> dict[str, bytes]:
        """Return all objects."""
        return {key: self.get(key) for key in self.keys()}

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Make the storage hold exactly these objects."""
        now = self.everything()
        self.remove(*(now.keys() - objects.keys()))
        for key, data in objects.items():
            if now.get(key) != data:
                self.put(key, data)

    def copy_approvals(self, name: str, source: str, target: str) -> None:
        """Put the approvals of one candidate beside another one."""
        for key in self.keys(layout.approvals_prefix(name, source)):
            self.put(layout.approvals_prefix(name, target) + Path(key).name, self.get(key))
