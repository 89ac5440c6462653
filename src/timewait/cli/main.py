"""`timewait`: the group of commands, each in a file of its own that is imported when it is asked for."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from timewait import __version__
from timewait.base.errors import UsageError

COMMANDS: Final = {
    "tour": "Watch TCP live: three labs in virtual time, then the real kernel where it is allowed.",
    "lab": "List the experiments, or run one: packets, measurements, verdict.",
    "verify": "Run experiments on this stack and on the running kernel, and compare the packets.",
    "serve": "Serve HTTP from this stack to the real network, over a TUN device.",
    "fetch": "Fetch a URL with this stack, over a TUN device.",
    "drill": "Run packetdrill scripts on this stack in virtual time, or on the running kernel.",
    "sim": "Run a file of hosts and ordinary programs in virtual time.",
    "replay": "Run the failing case of a test again, from the token that pytest printed.",
    "bench": "Measure: segments/s, lifecycles/s, Gbit/s over TUN, bytes per connection.",
}
"""What each subcommand does, so that `--help` need not import it. Its file is cli/NAME.py, its name there `command`."""

MET, NOT_MET, USAGE = 0, 1, 2
"""Exit status: all was as it should be; something was not; the command line was not understood."""


class Lazy(click.Group):
    """A group whose commands are imported only when one is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = f"timewait.cli.{cmd_name}"
        try:
            command = import_module(name).command
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise click.ClickException(f"this build has no `timewait {cmd_name}`") from None
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}; {closest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """What the library refuses is a usage error: its text says what is valid."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise click.UsageError(str(error)) from error


def closest(word: str, known: Sequence[str] | dict[str, str]) -> str:
    """'did you mean lab?', or the whole choice."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), 3, 0.5)
    return f"did you mean {' or '.join(found)}?" if found else f"there are {', '.join(known)}"


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="timewait %(version)s")
def group() -> None:
    """A TCP that lives in Python, behaves like Linux and runs on a clock you own.

    \b
    First steps:
      timewait tour                      three connections from birth to death, explained
      timewait lab                       every experiment there is
      timewait lab EST-27                why connect() takes 131 s to fail, in milliseconds
      timewait lab EST-27 --set net.ipv4.tcp_syn_retries=2
      timewait lab TW-03 --profile linux-3.10

    \b
    Against the real kernel (needs root and /dev/net/tun):
      timewait lab EST-01 --on live      our stack against the kernel
      timewait lab EST-01 --on kernel    kernel against kernel, over our link

    Exit status: 0 all was as it should be, 1 it was not, 2 the command line was not understood.

    \b
    Completion: eval "$(_TIMEWAIT_COMPLETE=bash_source timewait)"   (or zsh_source, fish_source)
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    try:
        group.main(args=list(args) if args is not None else None, prog_name="timewait", standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else NOT_MET
    return MET


if __name__ == "__main__":
    sys.exit(main())
