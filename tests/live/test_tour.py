"""The live half of `timewait tour`: served and fetched over both versions of IP, every digest equal."""

from timewait.run.live_tour import tour


def test_the_tour() -> None:
    said: list[str] = []
    assert tour(said.append, size=3_000_000)
    assert sum("sha256 equal" in line for line in said) == 4
    assert sum("3 MB in" in line for line in said) == 4
    moves = "\n".join(said)
    for step in (
        "LISTEN -> SYN-RECEIVED",
        "SYN-SENT -> ESTABLISHED",
        "ESTABLISHED -> CLOSE-WAIT",
        "LAST-ACK -> CLOSED",
    ):
        assert moves.count(step) >= 2
    assert "[fd99::2]:80" in moves and "10.99.0.2:80" in moves
