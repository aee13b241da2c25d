"""Hash keys that signed metadata names and the enrolment lacks: our API is asked for them.

`/v1/enrolment` is not signed. So nothing is taken from it but keys whose id, a digest, is the one
that verified metadata names for the list: never a root, a source, a token or another list. Each
source is asked once in a pull. A key is written down before anything is installed that needs it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from blocklist.core.enrolment import EnrolledList
from blocklist.core.errors import FeedError, TransportError
from blocklist.core.hashing import HashKey
from blocklist.subscriber import settings
from blocklist.subscriber.sources import ApiSource, Source
from blocklist.subscriber.state import State
from blocklist.subscriber.throttle import Waits


class HashKeys:
    """The hash keys that one pull comes to need.

    Args:
        state: Where the enrolment is; its lock is held.
        sources: Those of the pull.
        waits: Which of them want to be left alone.
        now: The time.
    """

    def __init__(
        self, state: State, sources: Sequence[Source], waits: Waits, now: datetime
    ) -> None:
        self._state = state
        self._waits = waits
        self._now = now
        self._unasked = [source for source in sources if isinstance(source, ApiSource)]
        self._answers: list[Mapping[str, Mapping[str, HashKey]]] = []

    def with_key(
        self, item: EnrolledList, key_id: str, used: Source, warnings: list[str]
    ) -> EnrolledList:
        """Return a list with a hash key that verified metadata names, if it can be had.

        Args:
            item: The list as it is enrolled.
            key_id: The id of the key.
            used: The source in use: its time goes on.
            warnings: Gets a line for each source that did not answer as agreed.

        Raises:
            LocalError: The enrolment cannot be written; it is as before.
        """
        if key_id in item.hash_keys:
            return item
        key = self._find(item.name, key_id, used, warnings)
        if key is None:
            return item
        enrolment = self._state.enrolment()
        held = enrolment.lists[item.name]
        more = replace(held, hash_keys={**held.hash_keys, key_id: key})
        lists = {**enrolment.lists, item.name: more}
        self._state.write_enrolment(replace(enrolment, lists=lists))
        return more

    def _find(
        self, list_name: str, key_id: str, used: Source, warnings: list[str]
    ) -> HashKey | None:
        for answer in self._answers:
            if key_id in answer.get(list_name, {}):
                return answer[list_name][key_id]
        while self._unasked:
            answer = self._ask(self._unasked.pop(0), used, warnings)
            self._answers.append(answer)
            if key_id in answer.get(list_name, {}):
                return answer[list_name][key_id]
        return None

    def _ask(
        self, source: ApiSource, used: Source, warnings: list[str]
    ) -> Mapping[str, Mapping[str, HashKey]]:
        """Return what a source knows, by list and id: nothing when it does not answer as agreed."""
        if self._waits.until(source.url, self._now) is not None:
            return {}
        if source is not used:
            source.begin(settings.HASH_KEYS_SECONDS)
        try:
            return source.hash_keys()
        except (TransportError, FeedError) as error:
            warnings.append(f"{source.place}: no hash keys: {error}")
        if source.asked_wait is not None:
            until = self._now.replace(microsecond=0) + timedelta(seconds=source.asked_wait + 1)
            self._waits.put(source.url, until, self._now)
        return {}
