"""The subscriber: enrol, pull, verify, install, and answer "is this URL listed?"."""

from blocklist.subscriber.matcher import Blocklist, Match
from blocklist.subscriber.pull import Pulled, PullFailed, pull

__all__ = ["Blocklist", "Match", "PullFailed", "Pulled", "pull"]
