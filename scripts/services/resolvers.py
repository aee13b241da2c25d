"""Throw-away resolvers with response policy zones, and an authority that knows every name.

    Authority    BIND: any name below the root has the address 192.0.2.80
    Bind, Unbound, Recursor    resolvers that forward to it, with the zones of two files

All run on ports of loopback. `hook` is what makes a resolver read its zones again.
"""

import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

from scripts.services import install
from scripts.services.process import HOST, Daemon, free_ports, require_until

START_SECONDS = 30.0
REAL = "192.0.2.80"
ZONE, ALLOW_ZONE = "rpz.example", "allow.rpz.example"

_SECRET = "b25seSBmb3IgdGVzdHMgb24gbG9vcGJhY2s="  # of a control channel on loopback
_BIND = ("named", "named-checkzone", "rndc", "dig")
_BIND_PACKAGES = ("bind9", "bind9-utils", "bind9-dnsutils")
_ROOT_ZONE = f"$TTL 5\n. SOA ns. ns. 1 60 60 60 1\n. NS ns.\nns. A {HOST}\n* A {REAL}\n"


class Server(ABC):
    """A DNS server on a port of loopback.

    Args:
        folder: Where its files are; made when missing.
        name: What it is called there.
        programs, packages: What it needs.
    """

    def __init__(
        self, folder: Path, name: str, programs: tuple[str, ...], packages: tuple[str, ...]
    ) -> None:
        self.folder = folder
        self.name = name
        self.port = free_ports(2)
        self._programs = (*programs, "dig")
        self._packages = (*packages, "bind9-dnsutils")
        self._daemon = Daemon(folder, name, self.argv)

    @property
    @abstractmethod
    def argv(self) -> list[str]:
        """The daemon's command line, in the foreground."""

    @abstractmethod
    def configure(self) -> None:
        """Write its configuration."""

    def prepare(self) -> None:
        """Install it and write its configuration.

        Raises:
            Unavailable: It cannot be installed.
        """
        install.require(self._programs, self._packages)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.configure()

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            Unavailable: It cannot be installed, or does not start.
        """
        self.prepare()
        self._daemon.start()
        require_until(self.name, self._answers, START_SECONDS, self._daemon)

    def stop(self) -> None:
        """Stop it."""
        self._daemon.stop()

    def kill(self) -> None:
        """End it as a crash does."""
        self._daemon.stop(signal.SIGKILL)

    def dig(self, name: str, kind: str = "A") -> tuple[str, tuple[str, ...]]:
        """Return the status of an answer, such as `NXDOMAIN`, and the data of its records."""
        words = ["dig", f"@{HOST}", "-p", str(self.port), "+time=2", "+tries=3", name, kind]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        status = done.stdout.partition("status: ")[2].partition(",")[0]
        section = done.stdout.partition(";; ANSWER SECTION:\n")[2].partition("\n\n")[0]
        return status, tuple(line.split()[-1] for line in section.splitlines())

    def _answers(self) -> bool:
        return self.dig("up.test")[0] in {"NOERROR", "NXDOMAIN"}


class Authority(Server):
    """Knows every name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "authority", _BIND, _BIND_PACKAGES)

    @property
    def argv(self) -> list[str]:
        """See `Server.argv`."""
        return ["named", "-4", "-g", "-n", "1", "-c", str(self.folder / "named.conf")]

    def configure(self) -> None:
        """See `Server.configure`."""
        (self.folder / "root.zone").write_text(_ROOT_ZONE)
        (self.folder / "named.conf").write_text(
            f"options {{ {_bind_options(self.folder, self.port)} recursion no; }};\n"
            f'zone "." {{ type primary; file "{self.folder}/root.zone"; }};\n'
        )


class Filter(Server):
    """A resolver that forwards to an authority and obeys two zones.

    Args:
        folder: Where its files are.
        authority: Whom it forwards to.
        allow, zone: The zone files; they must be there when it starts.
    """

    target = ""
    programs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def __init__(self, folder: Path, authority: Authority, allow: Path, zone: Path) -> None:
        self.authority = authority
        self.allow, self.zone = allow, zone
        self._sockets = Path(tempfile.mkdtemp(prefix="dns-"))  # a socket's path has to be short
        super().__init__(folder, self.target, self.programs, self.packages)

    def prepare(self) -> None:
        """See `Server.prepare`."""
        self._sockets.mkdir(mode=0o700, exist_ok=True)
        super().prepare()

    def stop(self) -> None:
        """Stop it; its sockets go."""
        super().stop()
        shutil.rmtree(self._sockets, ignore_errors=True)

    @property
    @abstractmethod
    def hook(self) -> str:
        """The command line that makes it read its zones again."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Its version."""


class Bind(Filter):
    """BIND, as in docs/subscribers.md."""

    target = "BIND"
    programs = _BIND
    packages = _BIND_PACKAGES

    @property
    def argv(self) -> list[str]:
        """See `Server.argv`."""
        return ["named", "-4", "-g", "-n", "1", "-c", str(self.folder / "named.conf")]

    @property
    def hook(self) -> str:
        """See `Filter.hook`."""
        return f"rndc -c {self.folder}/rndc.conf reload"

    @property
    def version(self) -> str:
        """See `Filter.version`."""
        return _said("named", "-v").split()[1].partition("-")[0]

    def configure(self) -> None:
        """See `Server.configure`."""
        control = self.port + 1
        key = f'key "k" {{ algorithm hmac-sha256; secret "{_SECRET}"; }};\n'
        (self.folder / "rndc.conf").write_text(
            key
            + f'options {{ default-key "k"; default-server {HOST}; default-port {control}; }};\n'
        )
        zones = "".join(
            f'zone "{name}" {{ type primary; file "{file}"; '
            "allow-query { none; }; allow-transfer { none; }; };\n"
            for name, file in ((ALLOW_ZONE, self.allow), (ZONE, self.zone))
        )
        (self.folder / "named.conf").write_text(
            f"{key}controls {{ inet {HOST} port {control} allow {{ {HOST}; }} keys {{ k; }}; }};\n"
            f"options {{ {_bind_options(self.folder, self.port)} recursion yes;\n"
            "empty-zones-enable no; dnssec-validation no; forward only;\n"
            f"forwarders {{ {HOST} port {self.authority.port}; }};\n"
            f'response-policy {{ zone "{ALLOW_ZONE}"; zone "{ZONE}"; }}\n'
            "qname-wait-recurse no break-dnssec yes min-update-interval 0; };\n" + zones
        )


class Unbound(Filter):
    """Unbound, as in docs/subscribers.md."""

    target = "Unbound"
    programs = ("unbound", "unbound-checkconf", "unbound-control")
    packages = ("unbound",)

    @property
    def argv(self) -> list[str]:
        """See `Server.argv`."""
        return ["unbound", "-d", "-c", str(self.folder / "unbound.conf")]

    @property
    def hook(self) -> str:
        """See `Filter.hook`."""
        command = f"unbound-control -c {self.folder}/unbound.conf auth_zone_reload"
        return f"sh -c '{command} {ALLOW_ZONE} && {command} {ZONE}'"

    @property
    def version(self) -> str:
        """See `Filter.version`."""
        return _said("unbound", "-V").split()[1]

    def configure(self) -> None:
        """See `Server.configure`."""
        zones = "".join(
            f'rpz:\n name: "{name}"\n zonefile: "{file}"\n rpz-signal-nxdomain-ra: yes\n'
            for name, file in ((ALLOW_ZONE, self.allow), (ZONE, self.zone))
        )
        (self.folder / "unbound.conf").write_text(
            f'server:\n interface: {HOST}\n port: {self.port}\n username: ""\n chroot: ""\n'
            f' directory: "{self.folder}"\n pidfile: ""\n use-syslog: no\n num-threads: 1\n'
            ' do-not-query-localhost: no\n module-config: "respip iterator"\n'
            ' local-zone: "test." nodefault\n'
            "remote-control:\n control-enable: yes\n"
            f' control-interface: "{self._sockets}/control"\n'
            f' control-use-cert: no\n{zones}forward-zone:\n name: "."\n'
            f" forward-addr: {HOST}@{self.authority.port}\n"
        )


class Recursor(Filter):
    """PowerDNS Recursor, as in docs/subscribers.md."""

    target = "PowerDNS"
    programs = ("pdns_recursor", "rec_control")
    packages = ("pdns-recursor",)

    @property
    def argv(self) -> list[str]:
        """See `Server.argv`."""
        return ["pdns_recursor", f"--config-dir={self.folder}"]

    @property
    def hook(self) -> str:
        """See `Filter.hook`."""
        command = f"rec_control --timeout=60 --socket-dir={self._sockets}"  # a busy machine
        return f'sh -c "{command} reload-lua-config && {command} wipe-cache .$"'

    @property
    def version(self) -> str:
        """See `Filter.version`."""
        words = _said("pdns_recursor", "--version").split()
        return words[words.index("Recursor") + 1]

    def configure(self) -> None:
        """See `Server.configure`."""
        (self.folder / "rpz.lua").write_text(
            f'rpzFile("{self.allow}", {{policyName="allow"}})\n'
            f'rpzFile("{self.zone}", {{policyName="blocklist", extendedErrorCode=15}})\n'
        )
        (self.folder / "recursor.conf").write_text(
            f"local-address={HOST}\nlocal-port={self.port}\nsocket-dir={self._sockets}\n"
            f"lua-config-file={self.folder}/rpz.lua\ndont-query=\ndnssec=off\nthreads=1\n"
            f"forward-zones-recurse=.={HOST}:{self.authority.port}\ndaemon=no\n"
            "disable-syslog=yes\nwrite-pid=no\nextended-resolution-errors=yes\n"
        )


def _bind_options(folder: Path, port: int) -> str:
    return (
        f'directory "{folder}"; pid-file none; session-keyfile none; listen-on-v6 {{ none; }};\n'
        f"listen-on port {port} {{ {HOST}; }}; notify no;"
    )


def _said(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    return f"{done.stdout} {done.stderr}"
