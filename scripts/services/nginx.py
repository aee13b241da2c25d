"""A throw-away nginx with the configuration of `config/nginx`, as it ships.

Only what that says to edit is changed: addresses, folders and the certificate.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from scripts.services import install
from scripts.services.process import HOST, Daemon, answers, free_ports, require_until

START_SECONDS = 20.0
PORTS = 3  # TLS, plain, and one for whoever measures
SHIPPED = Path(__file__).parents[2] / "config" / "nginx"
_SITE = "conf.d/blocklist.conf"


class Nginx:
    """nginx in front of an API, on ports of loopback.

    Args:
        folder: Where its files are; made when missing.
        api: `HOST:PORT` of the API.
        edits: What to change besides, as old text and new, in any of the shipped files.

    Attributes:
        ca_file: The certificate to trust.
        cache: What it keeps on disk is below.
    """

    def __init__(self, folder: Path, api: str, edits: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.logs = folder / "log"
        self.ca_file = folder / "blocklist/tls.pem"
        self.port = free_ports(PORTS)
        self._edits = self._our_edits(api) | dict(edits or {})
        self.argv = ["nginx", "-p", f"{folder}/", "-c", "nginx.conf", "-g", "daemon off;"]
        self._daemon = Daemon(folder, "nginx", self.argv)

    @property
    def url(self) -> str:
        """Its address, with TLS."""
        return f"https://{HOST}:{self.port}"

    @property
    def plain_url(self) -> str:
        """Its address without TLS, for measuring what is not TLS."""
        return f"http://{HOST}:{self.port + 1}"

    @property
    def pid(self) -> int | None:
        """The process of its master."""
        return self._daemon.pid

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            Unavailable: It cannot be installed, or does not start.
        """
        install.require(("nginx", "openssl"), ("nginx", "openssl"))
        self.write()
        self._daemon.start()
        require_until("nginx", lambda: answers(self.port), START_SECONDS, self._daemon)

    def stop(self) -> None:
        """Stop it; its cache stays."""
        self._daemon.stop(signal.SIGQUIT)

    def check(self) -> str:
        """Write the configuration and return what `nginx -t` says of it; empty: nothing.

        Raises:
            Unavailable: It cannot be installed.
        """
        install.require(("nginx", "openssl"), ("nginx", "openssl"))
        self.write()
        argv = [*self.argv[:5], "-t", "-q"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        return done.stderr

    def write(self) -> None:
        """Write the configuration, with what is to be edited edited.

        Raises:
            ValueError: A text to change does not stand in it.
        """
        for name in ("conf.d", "blocklist", "cache", "log", "run"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        files = {f"blocklist/{path.name}": path for path in (SHIPPED / "blocklist").iterdir()}
        files |= {_SITE: SHIPPED / "blocklist.conf", "nginx.conf": SHIPPED / "nginx.conf"}
        texts = {name: path.read_text("utf-8") for name, path in files.items()}
        for old, new in self._edits.items():
            if not any(old in text for text in texts.values()):
                raise ValueError(f"expected {old!r} in config/nginx")
            texts = {name: text.replace(old, new) for name, text in texts.items()}
        for name, text in texts.items():
            (self.folder / name).write_text(text, "utf-8")
        if not self.ca_file.exists():
            self._make_certificate()

    def _our_edits(self, api: str) -> dict[str, str]:
        user = "user root;" if os.geteuid() == 0 else ""
        temporary = "".join(
            f"    {kind}_temp_path {self.folder}/run/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
        )
        return {
            "server 127.0.0.1:8080 ": f"server {api} ",
            "/var/cache/blocklist-": f"{self.cache}/blocklist-",
            "/var/log/nginx/": f"{self.logs}/",
            "/etc/nginx/": f"{self.folder}/",
            "listen 443 ssl http2;": f"listen {HOST}:{self.port} ssl http2;",
            "listen [::]:443 ssl http2;": f"listen {HOST}:{self.port + 1};",
            "server_name lists.hotline.example;": f"server_name {HOST};",
            "user www-data;": user,
            "worker_rlimit_nofile 65536;": "",
            "pid /run/nginx.pid;": f"pid {self.folder}/run/nginx.pid;",
            "http {\n": f"http {{\n{temporary}",
        }

    def _make_certificate(self) -> None:
        words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
        name = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=IP:{HOST}"]
        files = ["-keyout", str(self.folder / "blocklist/tls.key"), "-out", str(self.ca_file)]
        argv = ["openssl", *words, *name, *files]
        subprocess.run(argv, capture_output=True, timeout=60, check=True)
