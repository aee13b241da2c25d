"""How `init` and `status` tell what the storage was found to do with conditional writes."""

from typing import Any

from blocklist.store.port import Findings


def document(found: Findings | None) -> dict[str, Any] | None:
    """Return it for `--json`; null for a storage that needs no probe, such as a folder."""
    if found is None:
        return None
    return {
        "storage": found.storage,
        "conditional_writes": found.conditions,
        "usable": found.usable,
        "warning": found.warning,
    }


def text(found: Findings | None) -> list[str]:
    """Return it as lines for people."""
    if found is None:
        return []
    return [f"storage: {found.storage}, conditional writes: {found.conditions}"]
