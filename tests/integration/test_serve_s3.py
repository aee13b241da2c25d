"""The API on a real S3 server and a real Redis, with two workers."""

from pathlib import Path

from blocklist.core import delta
from blocklist.core.entries import Feed
from blocklist.core.update import Update
from scripts.services.redis import Redis
from tests.api_process import Poll, running
from tests.api_repo import Repo, content, until
from tests.services import S3Server

UPDATE = "/v1/lists/demo/hashed/update"


def test_a_release_on_s3_reaches_those_who_wait(
    tmp_path: Path, s3_server: S3Server, scheme: str, redis_server: Redis
) -> None:
    repo = Repo(tmp_path / "store")
    repo.releases(3)
    repo.enrol()
    bucket, client = s3_server.new_bucket(), s3_server.client(scheme)

    def upload() -> None:
        """Bring the directory to the bucket, the timestamp last."""
        keys = [path.relative_to(repo.path) for path in repo.path.rglob("*.*") if path.is_file()]
        for key in sorted(keys, key=lambda key: key.name == "timestamp.json"):
            client.put_object(Bucket=bucket, Key=str(key), Body=repo.file(str(key)).read_bytes())

    upload()
    with running(
        tmp_path,
        workers=2,
        redis_url=redis_server.url,
        repo=repo,
        storage=s3_server.url(bucket, scheme),
        environment=s3_server.environment,
    ) as server:
        assert server.get("/readyz").status == 200
        stamp = repo.head().timestamp.version
        path = f"{UPDATE}?from=3&root=1&targets=2&timestamp={stamp}"
        assert server.get(path).status == 304
        polls = [Poll(server, path, Prefer="wait=55") for _ in range(6)]
        until("they wait", lambda: server.figure("waiting_polls") == len(polls))
        repo.release()
        upload()
        answers = [poll.answer().partition(b"\r\n\r\n")[2] for poll in polls]
        assert server.figure("storage_errors_total") == 0
    (body,) = set(answers)
    update = Update.from_bytes(body)
    (blob,) = update.objects.values()
    held = content(Feed.HASHED, 3)
    assert delta.apply(Feed.HASHED, held, blob, max_bytes=1 << 20) == content(Feed.HASHED, 4)
    assert "Traceback" not in server.log.read_text()
