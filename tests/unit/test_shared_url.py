"""What BLOCKLIST_REDIS may be; what it holds is never repeated."""

import pytest

from blocklist.core.errors import InputError
from blocklist.store.shared import SharedState
from blocklist.store.shared_url import validate_redis_url

SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1", "redis://127.0.0.1:6379", "redis://redis.example:6379/15",
        "redis://[::1]:6379/0", f"redis://:{SECRET}@redis.example/", "redis://redis.example?db=3",
        f"redis://user:{SECRET}%2F%40%23@redis.example:1/2", f"rediss://{SECRET}:x@redis.example",
        "rediss://redis.example:6380/0?ssl_ca_certs=/etc/redis/ca.pem",
        "unix:///run/redis.sock", f"unix://user:{SECRET}@/run/redis.sock?db=1",
    ],
)  # fmt: skip
def test_the_three_shapes_are_taken(url: str) -> None:
    validate_redis_url(url)
    SharedState.open(url)


@pytest.mark.parametrize(
    "url",
    [
        "", SECRET, f"http://{SECRET}", f"redis:{SECRET}", f"redis:///{SECRET}",
        f"REDISS ://{SECRET}", f"redis://:{SECRET}@", f"redis://redis.example:{SECRET}",
        f"redis://:pa/{SECRET}@redis.example", f"redis://:pa#{SECRET}@redis.example",
        f"redis://:pa?{SECRET}@redis.example", "redis://redis.example:0",
        "redis://redis.example:65536", f"redis://redis.example/{SECRET}",
        "redis://redis.example/0/1", "redis://redis.example/-1", f"redis://h.example/0#{SECRET}",
        f"redis://h.example?db={SECRET}", "redis://h.example?db=", "redis://h.example?db=1&db=2",
        f"redis://h.example?password={SECRET}", "redis://h.example?ssl_ca_certs=/ca.pem",
        "rediss://h.example?ssl_cert_reqs=none", "rediss://h.example?ssl_check_hostname=no",
        "redis://h.example?socket_timeout=600", "redis://h.example?retry_on_timeout=1",
        "unix://", "unix:///", "unix://redis.example/run/redis.sock", "unix:/run/redis.sock",
        "REDIS://h.example", f"Unix:///run/{SECRET}",
        f"redis://:{SECRET} @h.example", f"redis://:{SECRET}\n@h.example", "redis://h\u00f6.example",
        f"redis://[{SECRET}]:1",
    ],
)  # fmt: skip
def test_another_shape_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(InputError) as caught:
        SharedState.open(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
