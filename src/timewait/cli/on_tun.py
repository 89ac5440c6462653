"""Options that `serve` and `fetch` share: where our host is, and what is wrong with the line to it."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

import click

from timewait.cli import units
from timewait.run.live import ADDRESSES, Live, live
from timewait.run.watch import StateLines
from timewait.tcp.sysctl import PROFILES
from timewait.world.link import LinkOptions
from timewait.world.netns import probe

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option(
        "--address", "addresses", multiple=True, metavar="ADDR/LEN",
        help=f"An address of our host; may be repeated. [default: {', '.join(ADDRESSES)}]",
    ),
    click.option("--tun", "device", default="", metavar="NAME", help="Use this existing TUN, not a namespace."),
    click.option("--mtu", default=1500, show_default=True, type=click.IntRange(576, 65535), help="MTU of the new TUN."),
    click.option("--profile", type=click.Choice(PROFILES), default="linux-6.18", show_default=True,
                 help="The kernel that our host imitates."),
    click.option("--set", "sysctls", multiple=True, metavar="NAME=VALUE", help="Set a sysctl of our host."),
    click.option("--loss", type=units.share, default="0", metavar="SHARE", help="Lose packets, both ways: 5%."),
    click.option("--delay", type=units.time, default="0s", metavar="TIME", help="Delay packets, each way: 20ms."),
    click.option("--rate", type=units.rate, default="0", metavar="RATE", help="Limit the line, each way: 10Mbit."),
    click.option("--verbose", "-v", is_flag=True, help="Print every change of state, timer and discarded packet."),
)  # fmt: skip


def options(function: F) -> F:
    """The shared options, in this order, below the command's own."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def say(text: str) -> None:
    """A line for people: on standard error, so that standard output is a body's or a program's."""
    print(text, file=sys.stderr, flush=True)


class Wishes:
    """What the shared options say."""

    def __init__(
        self, *, addresses: tuple[str, ...], device: str, mtu: int, profile: str, sysctls: tuple[str, ...], loss: float,
        delay: int, rate: int, verbose: bool,
    ) -> None:  # fmt: skip
        if device and not addresses:
            raise click.UsageError("--tun needs --address: which addresses of its network are ours?")
        self.addresses = tuple(text if "/" in text else text + ("/64" if ":" in text else "/24") for text in addresses)
        self.device = device
        self.mtu = mtu
        self.profile = profile
        self.faults: LinkOptions = {}
        if loss:
            self.faults["loss"] = loss
        if delay:
            self.faults["delay"] = delay
        if rate:
            self.faults["rate"] = rate
            # A tenth of a second at that rate, as a home router's queue: without one nothing would be lost.
            self.faults["queue_bytes"] = max(rate // 80, 30_000)
        self.sysctls = [_assignment(text) for text in sysctls]
        self.tap = StateLines(say) if verbose else None

    def live(self) -> AbstractAsyncContextManager[Live]:
        """The host and the kernel beside it."""
        return live(
            self.addresses or ADDRESSES, mtu=self.mtu, faults=self.faults or None, device=self.device,
            profile=self.profile, tap=self.tap,
        )  # fmt: skip

    def configure(self, net: Live) -> None:
        """Set the sysctls. UsageError for one that there is not."""
        for name, value in self.sysctls:
            net.host.sysctl[name] = value


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value.strip():
        raise click.BadParameter(f"{text!r} is not NAME=VALUE, such as net.ipv4.tcp_sack=0", param_hint="--set")
    return name.strip(), value.strip()


def run(wishes: Wishes, program: Callable[[Live], Awaitable[int]]) -> int:
    """Make the host, run the program on it, take everything down: the exit status."""
    if not wishes.device and (missing := probe()):
        raise click.ClickException(missing)

    async def everything() -> int:
        async with wishes.live() as net:
            wishes.configure(net)
            return await program(net)

    try:
        return asyncio.run(everything())
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        raise click.ClickException(str(error)) from error


def shell(command: str, **variables: str) -> list[str]:
    """What runs a shell command with some variables set."""
    return ["env", *(f"{name}={value}" for name, value in variables.items()), "sh", "-c", command]
