"""Start, stop and describe the services from a shell.

    python3 -m scripts.services start [redis] [s3]     install what is missing, start, wait
    python3 -m scripts.services stop                   stop them; data stay in .services/
    eval "$(python3 -m scripts.services env)"          variables that name them

The folder is .services/ of the checkout, or BLOCKLIST_SERVICES. Delete it to forget the data.
"""

import os
import shlex
import sys
from pathlib import Path

from scripts.services.ceph import Ceph
from scripts.services.install import Unavailable
from scripts.services.redis import Redis

FOLDER = Path(os.environ.get("BLOCKLIST_SERVICES", Path(__file__).parents[2] / ".services"))
REDIS_PORT = 7379
S3_PORT = 7480
NAMES = ("redis", "s3")


def made(name: str) -> Redis | Ceph:
    """Return a service by its name."""
    folder = FOLDER.absolute() / name
    return Redis(folder, REDIS_PORT) if name == "redis" else Ceph(folder, S3_PORT)


def main(words: list[str]) -> int:
    """Do what the command line says; return the exit code."""
    verb, names = (words[0], words[1:] or NAMES) if words else ("", NAMES)
    if verb not in {"start", "stop", "env"} or not set(names) <= set(NAMES):
        print(
            f"usage: python3 -m scripts.services start|stop|env [{'|'.join(NAMES)}]..",
            file=sys.stderr,
        )
        return 2
    try:
        for name in names:
            service = made(name)
            if verb == "start":
                service.start()
                print(f"{name} runs in {service.folder}", file=sys.stderr)
            elif verb == "stop":
                service.stop()
            else:
                for variable, value in service.environment().items():
                    print(f"export {variable}={shlex.quote(value)}")
    except Unavailable as error:
        print(f"expected a service that starts: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
