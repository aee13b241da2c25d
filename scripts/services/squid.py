"""A throw-away Squid with the configuration of `config/squid` and the page of `config/blockpage`.

Only what that says to edit is changed: paths and times. Names are found in a hosts file of its
own; no DNS server is asked. Squid refuses to be root: as root it runs as Debian's `proxy`, with the
one capability that lets it read our folders.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from scripts.services import install
from scripts.services.process import HOST, Daemon, answers, free_ports, require_until, until

START_SECONDS = 30.0
ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "config/squid/blocklist.conf"
PAGE = ROOT / "config/blockpage/blocked.html"
USER = "proxy"
_AS_USER = (
    "setpriv",
    f"--reuid={USER}",
    f"--regid={USER}",
    "--clear-groups",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
)
_CONFIGURATION = """\
http_port {host}:{port}
pid_filename {folder}/squid.pid
cache_log {folder}/cache.log
coredump_dir {folder}
hosts_file {folder}/hosts
dns_nameservers {host}
visible_hostname proxy.example
cache deny all
pinger_enable off
shutdown_lifetime 1 second
include {folder}/blocklist.conf
http_access allow all
"""
_UNFILTERED = "access_log none\n"


class Squid:
    """A proxy on a port of loopback that asks our helper.

    Args:
        folder: Where its files are; made when missing.
        state: The state directory of the helper.
        names: Host names that it finds, all on loopback.
        edits: What to change besides in the shipped configuration, as old text and new.
        filtered: Without, it asks nobody.
    """

    def __init__(
        self,
        folder: Path,
        state: Path,
        names: Iterable[str],
        edits: Mapping[str, str] | None = None,
        *,
        filtered: bool = True,
    ) -> None:
        self.folder = folder
        self.port = free_ports(1)
        self._state = state
        self._names = list(names)
        self._edits = dict(edits or {})
        self._filtered = filtered
        prefix = _AS_USER if os.geteuid() == 0 else ()
        self._squid = ["squid", "-N", "-f", str(folder / "squid.conf")]
        self._argv = [*prefix, *self._squid]
        self._daemon = Daemon(folder, "proxy", self._argv)

    @property
    def url(self) -> str:
        """Its address, as curl's `--proxy` takes it."""
        return f"http://{HOST}:{self.port}"

    @property
    def argv(self) -> list[str]:
        """The daemon's command line, which also takes `-k` and what to tell it."""
        return list(self._argv)

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            Unavailable: It cannot be installed, or does not start.
        """
        install.require(("squid",), ("squid-openssl",))
        self.write()
        self._daemon.start()
        require_until("Squid", lambda: answers(self.port), START_SECONDS, self._daemon)

    def stop(self) -> None:
        """Stop it."""
        self._daemon.stop()

    def kill(self) -> None:
        """End it as a crash does."""
        self._daemon.stop(signal.SIGKILL)

    def check(self) -> subprocess.CompletedProcess[str]:
        """Write the configuration and return what `squid -k parse` says of it.

        Raises:
            Unavailable: It cannot be installed.
        """
        install.require(("squid",), ("squid-openssl",))
        self.write()
        argv = [*self._squid, "-k", "parse"]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    def processor_seconds(self) -> float:
        """Return what it has used so far, without its helpers."""
        fields = Path(f"/proc/{self._daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # proc(5)

    def helpers(self) -> list[int]:
        """Return the processes of its helpers."""
        pid = self._daemon.pid
        if pid is None:
            return []
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        # By program: Squid has other children, such as the one that writes its log.
        return [int(child) for child in found if b"squid-helper" in _command(child)]

    def kill_helpers(self) -> list[int]:
        """Kill all helpers, wait until they are gone, and return who they were."""
        killed = self.helpers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not set(killed) & set(self.helpers()), START_SECONDS)
        return killed

    def written(self) -> dict[str, bytes]:
        """Return what it has written to its logs, by file name."""
        logs = ("cache.log", "access.log", "proxy.out")
        return {
            name: (self.folder / name).read_bytes()
            for name in logs
            if (self.folder / name).exists()
        }

    def write(self) -> None:
        """Write configuration, page, hosts file and the program that the helper is.

        Raises:
            ValueError: A text to change does not stand in the shipped configuration.
        """
        (self.folder / "errors").mkdir(parents=True, exist_ok=True)
        self._configure()
        hosts = "".join(f"{HOST} {name}\n" for name in self._names)
        (self.folder / "hosts").write_text(hosts)
        (self.folder / "errors/ERR_BLOCKED").write_bytes(PAGE.read_bytes())
        program = self.folder / "blocklist"
        script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from blocklist.cli import main; "
        words = shlex.join([sys.executable, "-c", script + "main()"])
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        program.chmod(0o755)

    def _configure(self) -> None:
        text = SHIPPED.read_text("utf-8")
        edits = {
            "/opt/blocklist/bin/blocklist": str(self.folder / "blocklist"),
            "/var/lib/blocklist": str(self._state),
            "/etc/squid/blocklist\n": f"{self.folder}/errors\n",
            "daemon:/var/log/squid/access.log": f"stdio:{self.folder}/access.log",
            "children-max=4 children-startup=2": "children-max=2 children-startup=1",
            " ttl=30 negative_ttl=5 ": " ttl=1 negative_ttl=1 ",
        }
        for old, new in (edits | self._edits).items():
            if old not in text:
                raise ValueError(f"expected {old!r} in config/squid")
            text = text.replace(old, new)
        (self.folder / "blocklist.conf").write_text(text if self._filtered else _UNFILTERED)
        main = _CONFIGURATION.format(host=HOST, port=self.port, folder=self.folder)
        (self.folder / "squid.conf").write_text(main)


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
