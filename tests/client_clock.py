"""The time for subscribers in tests that move a clock."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet


def follow(monkeypatch: pytest.MonkeyPatch, clock: Callable[[], datetime]) -> None:
    """Let `tuf.ngclient` judge expiry by a test's clock.

    It offers no way to say what time it is, and asks for it in this one place.
    """
    begin = TrustedMetadataSet.__init__

    def begun(trusted: TrustedMetadataSet, *args: Any, **options: Any) -> None:
        begin(trusted, *args, **options)
        trusted.reference_time = clock()

    monkeypatch.setattr(TrustedMetadataSet, "__init__", begun)
