"""Several people on one list: who holds which key on which machine, and what each of them does.

team = Team.made(tmp_path)                    # ann, ben, cyd; two of them release `demo`
digest = team.stage("ann", add="a.example/x")
team.approve("ann", digest)
team.approve("ben", digest)
team.release(digest)                          # on the machine with the online key
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blocklist.core.entries import Feed
from blocklist.publisher import assemble, start
from blocklist.publisher.accounts import Approval
from blocklist.publisher.build import Feeds
from blocklist.publisher.curation import approving, carry, checking, preparing, releasing, staging
from blocklist.publisher.curation import candidate as candidates
from blocklist.publisher.curation.approving import Approved
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.carry import Carried
from blocklist.publisher.curation.releasing import Released
from blocklist.publisher.curation.staging import Staged
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import Options, Outcome, Request, read_request, withdrawal
from blocklist.store import layout
from blocklist.store.port import Store
from signing import keys
from signing.trust import TrustState
from tests.publisher_kit import LIST, Kit, open_home

PEOPLE = ("ann", "ben", "cyd")


@dataclass
class Team:
    """Three analysts with a key each, and the machine with the online key.

    Attributes:
        kit: The machine with the online key; it holds no list signing key.
        publics: Public key file by person.
    """

    kit: Kit
    publics: dict[str, keys.KeyFile] = field(default_factory=dict)

    @classmethod
    def made(
        cls,
        folder: Path,
        *,
        lists: Iterable[str] = (LIST,),
        threshold: int = 2,
        directory: bool = False,
        **settings: Any,
    ) -> "Team":
        """Return a team; their lists are made and not yet released."""
        kit = Kit.empty(folder, directory=directory, **settings)
        start.init_dev(kit.repository())
        team = cls(kit)
        for person in PEOPLE:
            team.join(person)
        for name in lists:
            publics = [team.publics[person].public for person in PEOPLE]
            start.create_list(kit.repository(), name, threshold=threshold, public_keys=publics)
        return team

    def join(self, person: str) -> None:
        """Give somebody a machine: a home that knows the root, and a key."""
        home = open_home(self.kit.folder / person)
        home.save_trust(TrustState.pin(self.kit.root()))
        self.publics[person] = keys.create(home.keys_directory / person)

    def at(self, person: str, store: Store | None = None, **settings: Any) -> Repository:
        """Return the repository as somebody's machine sees it."""
        home = open_home(self.kit.folder / person)
        chosen = replace(self.kit.settings, **settings)
        return Repository(store or self.kit.store, home, self.kit.clock, f"{person}@desk", chosen)

    def stage(
        self,
        person: str,
        whole: str | None = None,
        *,
        add: str | None = None,
        remove: str | None = None,
        name: str = LIST,
        **options: Any,
    ) -> str:
        """Stage text, and return the digest of the candidate."""
        return self.staged(person, whole, add=add, remove=remove, name=name, **options).digest

    def staged(
        self,
        person: str,
        whole: str | None = None,
        *,
        add: str | None = None,
        remove: str | None = None,
        name: str = LIST,
        keep: bool = True,
        **options: Any,
    ) -> Staged:
        request = _request(name, whole, add, remove, options)
        return staging.stage(self.at(person), request, keep=keep)

    def rebase(self, person: str, digest: str, name: str = LIST, **options: Any) -> str:
        old, data = staging.find(self.at(person), name, digest)
        request = staging.rebased(data, Options(**options))
        return staging.stage(self.at(person), request, replaces=old).digest

    def candidate(self, digest: str, name: str = LIST) -> Candidate:
        """Return a candidate as the storage holds it."""
        return Candidate.from_bytes(staging.find(self.at("ann"), name, digest)[1])

    def check(self, person: str, candidate: Candidate) -> checking.Checked:
        repository = self.at(person)
        return checking.check(repository, candidate, checking.GuardFiles.load(repository.settings))

    def approve(self, person: str, digest: str, name: str = LIST, **options: Any) -> Approved:
        found = self.candidate(digest, name)
        return approving.approve(self.at(person), digest, found, **options)

    def release(
        self,
        digest: str,
        name: str = LIST,
        *,
        store: Store | None = None,
        given: Iterable[Approval] = (),
    ) -> Released:
        """Release on the machine with the online key."""
        return releasing.release(
            self.kit.repository(store), digest, self.candidate(digest, name), given
        )

    def publish(self, whole: str | None = None, *, name: str = LIST, **options: Any) -> int:
        """Let ann stage, ann and ben approve, and release; return the version."""
        digest = self.stage("ann", whole, name=name, **options)
        codes = tuple(options.get("allowed", ()))
        for person in ("ann", "ben"):
            self.approve(person, digest, name, allowed=codes)
        return self.release(digest, name).version

    def withdraw(self, person: str, *urls: str, name: str = LIST, **options: Any) -> Carried:
        request = withdrawal(name, urls, Options(reason="taken down", **options))
        return carry.carry(self.at(person), request)

    def rollback(self, person: str, version: int, name: str = LIST, **options: Any) -> Carried:
        request = carry.rollback(self.at(person), name, version, Options(**options))
        return carry.carry(self.at(person), request)

    def forged(
        self,
        *,
        name: str = LIST,
        add: str | None = None,
        lines: Callable[[Outcome], Outcome] = lambda outcome: outcome,
        feeds: Callable[[Feeds], Feeds] = lambda feeds: feeds,
        told: Callable[[assemble.Told], assemble.Told] = lambda told: told,
        candidate: Callable[[Candidate], Candidate] = lambda candidate: candidate,
        version: int | None = None,
        **options: Any,
    ) -> tuple[str, Candidate]:
        """Return what somebody would stage who lies about one thing and gets all else right."""
        repository = self.at("ann")
        base = assemble.read_base(repository, name)
        request = _request(name, None, add, None, options)
        prepared = preparing.prepare(repository, request, base)
        outcome = lines(prepared.outcome)
        content = feeds(prepared.feeds)
        made = assemble.assemble(
            repository,
            base,
            outcome,
            content,
            prepared.keying,
            told(prepared.told),
            version or (base.version or 0) + 1,
        )
        lie = candidate(Candidate.of(made))
        return self.planted(lie), lie

    def planted(self, candidate: Candidate) -> str:
        """Put a candidate into the storage, as whoever writes there can."""
        data = candidate.to_bytes()
        digest = candidates.digest(data)
        self.kit.store.put_new(layout.candidate_key(candidate.list, digest), data)
        return digest


def hashed(feeds: Feeds, data: bytes) -> Feeds:
    """Return feeds with other list bytes in the hashed one."""
    return Feeds({**feeds.content, Feed.HASHED: data})


def _request(
    name: str,
    whole: str | None,
    add: str | None,
    remove: str | None,
    options: dict[str, Any],
) -> Request:
    return read_request(
        name,
        ("whole.txt", whole.encode()) if whole is not None else None,
        [("add.txt", add.encode())] if add is not None else [],
        [("remove.txt", remove.encode())] if remove is not None else [],
        Options(**options),
    )
