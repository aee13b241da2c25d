"""A throw-away S3: Ceph RADOS Gateway 16 or newer, one monitor, one OSD, no manager.

It is the one real S3 server in Debian whose conditional writes are atomic. Objects live in the
memory of the OSD; a clean stop writes them to the folder. One gateway serves http and TLS.

Settings that are not obvious: authentication stays on (the gateway never gets past the monitor
without); a short paxos interval makes the first start 3 s instead of 13 s; without `tcp_nodelay`
every small GET takes 40 ms.
"""

import os
import shutil
import signal
import ssl
import subprocess
import uuid
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from scripts.services import install
from scripts.services.process import HOST, Daemon, free_ports, require_until

START_SECONDS = 60.0
COMMAND_SECONDS = 60
PORTS = 44  # http, TLS, monitor, then those of the OSD
REGION = "us-east-1"

_PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "ceph", "openssl")
_PACKAGES = ("ceph-mon", "ceph-osd", "radosgw", "openssl")
_CONFIGURATION = """\
[global]
fsid = {fsid}
keyring = {folder}/keyring
mon host = [v2:{host}:{mon}/0]
mon initial members = a
public addr = {host}
cluster addr = {host}
ms bind msgr1 = false
ms bind port min = {first}
ms bind port max = {last}
admin socket =
log file = {folder}/log/$name.log
log to stderr = false
crash dir = {folder}/log
paxos propose interval = 0.05
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon warn on pool no redundancy = false
mon allow pool size one = true
mon data avail crit = 1
[mon]
mon data = {folder}/mon
mon cluster log file = {folder}/log/cluster.log
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd fast shutdown = false
osd class load list = *
osd class default list = *
[client.rgw]
keyring = {folder}/keyring
rgw data = {folder}/rgw
rgw frontends = beast endpoint={host}:{http} ssl_endpoint={host}:{https} \
ssl_certificate={folder}/tls.pem ssl_private_key={folder}/tls.key tcp_nodelay=1
rgw thread pool size = 64
rgw enable usage log = false
rgw run sync thread = false
rgw rados pool pg num min = 4
"""


class Ceph:
    """An S3 server on ports of loopback.

    Args:
        folder: Where its files are; made when missing.
        port: First of 44 ports; None takes free ones.

    Attributes:
        access_key, secret_key: Of its one user, who may do everything.
        ca_file: The certificate to trust over TLS.
    """

    access_key = "BLOCKLISTTESTKEY0001"
    secret_key = "blocklisttestsecret000000000000000000001"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = port if port is not None else self._known_port() or free_ports(PORTS)
        self.ca_file = folder / "tls.pem"
        self._conf = folder / "ceph.conf"
        conf = ["-c", str(self._conf), "-f"]
        self._mon = Daemon(folder, "mon", ["ceph-mon", *conf, "-i", "a"])
        self._osd = Daemon(folder, "osd", ["ceph-osd", *conf, "-i", "0"])
        self._gateway = Daemon(folder, "rgw", ["radosgw", *conf, "-n", "client.rgw"])

    @property
    def http(self) -> str:
        """Its endpoint without TLS."""
        return f"http://{HOST}:{self.port}"

    @property
    def https(self) -> str:
        """Its endpoint with TLS, by a certificate that only `ca_file` trusts."""
        return f"https://{HOST}:{self.port + 1}"

    def start(self) -> None:
        """Start or resume it and wait until it answers.

        Raises:
            Unavailable: It cannot be installed, or does not start.
        """
        install.require(_PROGRAMS, _PACKAGES)
        done = self.folder / "user.done"
        if not done.exists():
            self.stop()
            self._begin()
        self._mon.start()
        self._ceph("mon", "stat")
        if not (self.folder / "osd/fsid").exists():
            self._make_osd()
        self._osd.start()
        require_until("the OSD", lambda: "1 up" in self._ceph("osd", "stat"), 30, self._osd)
        if not done.exists():
            self.make_user("test", self.access_key, self.secret_key)
            done.touch()
        self.start_gateway()

    def start_gateway(self) -> None:
        """Start the gateway alone, after `kill_gateway`."""
        self._gateway.start()
        require_until("the gateway", self.ready, START_SECONDS, self._gateway)

    def kill_gateway(self) -> None:
        """End the gateway as a crash does; the objects stay."""
        self._gateway.stop(signal.SIGKILL)

    def pause_gateway(self, *, stopped: bool) -> None:
        """Stop the gateway in its tracks, or let it go on: connections hang."""
        pid = self._gateway.pid
        if pid is not None:
            os.kill(pid, signal.SIGSTOP if stopped else signal.SIGCONT)

    def stop(self) -> None:
        """Stop it, the gateway first; objects stay in the folder."""
        for daemon in (self._gateway, self._osd, self._mon):
            daemon.stop()

    def discard(self) -> None:
        """End it at once, with all that it holds."""
        for daemon in (self._gateway, self._osd, self._mon):
            daemon.stop(signal.SIGKILL)

    def make_user(self, name: str, access_key: str, secret_key: str) -> None:
        """Make one more S3 user."""
        words = ["user", "create", f"--uid={name}", f"--display-name={name}"]
        keys = [f"--access-key={access_key}", f"--secret-key={secret_key}"]
        self._run("radosgw-admin", "-c", str(self._conf), *words, *keys)

    def environment(self) -> dict[str, str]:
        """Return what a program needs to use it over TLS."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "S3_ENDPOINT": self.https,
            "S3_REGION": REGION,
            "S3_CA_FILE": str(self.ca_file),
        }

    def _known_port(self) -> int | None:
        known = self.folder / "port"
        return int(known.read_text()) if known.exists() else None

    def _begin(self) -> None:
        """Make configuration, certificate, keys and the monitor's store anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("log", "mon", "osd", "rgw"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "port").write_text(f"{self.port}\n")
        fsid = str(uuid.uuid4())
        self._conf.write_text(
            _CONFIGURATION.format(
                folder=self.folder,
                host=HOST,
                fsid=fsid,
                http=self.port,
                https=self.port + 1,
                mon=self.port + 2,
                first=self.port + 3,
                last=self.port + PORTS - 1,
            )
        )
        self._make_certificate()
        self._make_keys()
        monmap, keyring = str(self.folder / "monmap"), str(self.folder / "keyring")
        address = f"[v2:{HOST}:{self.port + 2}/0]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap)
        conf = ("-c", str(self._conf), "--mkfs", "-i", "a")
        self._run("ceph-mon", *conf, "--monmap", monmap, "--keyring", keyring)

    def _make_certificate(self) -> None:
        words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
        name = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=IP:{HOST}"]
        files = ["-keyout", str(self.folder / "tls.key"), "-out", str(self.ca_file)]
        self._run("openssl", *words, *name, *files)

    def _make_keys(self) -> None:
        keyring = str(self.folder / "keyring")
        everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
        for name, caps in {
            "mon.": ("--create-keyring", "--cap", "mon", "allow *"),
            "client.admin": everything,
            "client.rgw": ("--cap", "mon", "allow rwx", "--cap", "osd", "allow rwx"),
            "osd.0": ("--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"),
        }.items():
            self._run("ceph-authtool", keyring, "--gen-key", "-n", name, *caps)

    def _make_osd(self) -> None:
        identity = str(uuid.uuid4())
        self._ceph("osd", "new", identity)
        conf = ("-c", str(self._conf), "-i", "0", "--mkfs", "--osd-uuid", identity)
        self._run("ceph-osd", *conf)

    def ready(self) -> bool:
        """Tell whether the gateway answers in S3's language on both ports."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        try:
            for url in (self.http, self.https):
                with urlopen(url, timeout=2, context=context) as answer:
                    answer.read()
        except HTTPError as error:
            error.close()
            return error.code == 403
        except (URLError, OSError):
            return False
        return True

    def _ceph(self, *words: str) -> str:
        return self._run("ceph", "-c", str(self._conf), "--connect-timeout", "20", *words)

    def _run(self, *argv: str) -> str:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
        if done.returncode:
            raise install.Unavailable(f"{argv[0]} failed: {done.stderr.strip()[-500:]}")
        return done.stdout
