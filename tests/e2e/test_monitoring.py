"""`status` for monitoring systems, as they call it."""

from tests.cli_kit import World
from tests.forks import Forks


def test_exit_codes_of_a_plugin(world: World, forks: Forks) -> None:
    ran = world.run("status", "--nagios", "--prometheus", "blocklist.prom", by=forks)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("BLOCKLIST OK - demo/")
    assert " | 'demo/" in ran.out
    assert (
        'blocklist_subscriber_version{list="demo"' in (world.folder / "blocklist.prom").read_text()
    )
    hold = ("hold", "--until", "2020-01-01", "--reason", "x")
    world.refused(2, *hold, by=forks)
    (world.folder / "isp" / "hold.json").write_bytes(b"damaged")
    ran = world.run("status", "--nagios", by=forks)
    assert ran.code == 2
    assert ran.out.startswith("BLOCKLIST CRITICAL - ")
    document = world.done("status", by=forks)
    assert document["health"]["level"] == "critical"
    assert document["exports"] == []
    ran = world.run("status", "--nagios", state="nowhere", by=forks)
    assert ran.code == 3
    assert (
        ran.out == "BLOCKLIST UNKNOWN - nothing is enrolled here | exceptions=0;;;0 holds=0;;;0\n"
    )
    ran = world.run("status", "--nagios", "--prometheus", "none/blocklist.prom", by=forks)
    assert ran.code == 3
    assert ran.out.startswith("BLOCKLIST UNKNOWN - cannot write")
    world.refused(30, "status", "--prometheus", "none/blocklist.prom", by=forks)
    world.refused(2, "status", "--nagios", "--warning", "9", "--critical", "8", by=forks)
    world.refused(2, "status", "--nagios", "--json", by=forks)
