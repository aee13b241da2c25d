"""Start a repository: the first root, an empty targets role, and the first timestamp.

Root numbers must be consecutive, so a half-done start can never be burned away. The caller keeps
the four files (its journal) before the first write; writing them again adopts what is byte-equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Key, Signer

from signing import names, policy, roles, verify
from signing.errors import LostRace
from signing.port import MetadataStore

Files = dict[str, bytes]
"""The first files by name, in write order; the timestamp last."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Who signs a new repository.

    Attributes:
        root: Public root keys; `threshold` of them must sign.
        threshold: How many root keys must sign.
        targets, online: Public keys of targets, and of snapshot metadata and timestamp.
        signers: Signers for root, targets and online, in that order.
    """

    root: Sequence[Key]
    threshold: int
    targets: Key
    online: Key
    root_signers: Sequence[Signer]
    targets_signer: Signer
    online_signer: Signer


def first_files(keys: Keys, *, dev: bool, now: datetime) -> Files:
    """Return the first files of a repository, signed and verified as a client would."""
    signed = roles.new_root(keys.root, keys.threshold, keys.targets, keys.online, dev=dev, now=now)
    root = roles.seal(names.ROOT, signed, keys.root_signers)
    top = roles.seal(names.TARGETS, roles.new_targets(now), [keys.targets_signer])
    snap = roles.seal(
        names.SNAPSHOT, roles.next_snapshot(None, 1, [top], now), [keys.online_signer]
    )
    stamp = roles.seal(names.TIMESTAMP, roles.next_timestamp(1, snap, now), [keys.online_signer])
    verify.self_signed_root(root.data)
    verified = verify.snapshot(root, verify.timestamp(root, stamp.data), snap.data)
    verify.targets(root, verified, top.data)
    files = {names.file_name(role.name, 1): role.data for role in (root, top, snap)}
    return {**files, names.TIMESTAMP_FILE: stamp.data}


def write(store: MetadataStore, files: Files) -> None:
    """Write the first files, adopting those that are already there byte for byte.

    Raises:
        LostRace: Another repository is there.
    """
    for name, data in files.items():
        if store.put_new(name, data):
            continue
        stored = store.get(name, limit=policy.MAX_TARGETS_BYTES)
        if stored is None or stored.data != data:
            raise LostRace(f"the storage already holds another repository ({name} differs)")
