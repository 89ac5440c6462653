"""Names of a simulated network: getaddrinfo, getnameinfo, gethostbyname and gethostname for its programs."""

import socket
from typing import TYPE_CHECKING, Any

from timewait.wire.address import pack, show

if TYPE_CHECKING:
    from timewait.run.program import Program


def numeric(host: str) -> str | None:
    """The address in its usual spelling if `host` is one; None if it is a name."""
    try:
        return show(pack(host.partition("%")[0]))
    except ValueError:
        return None


def resolve(program: "Program", host: str, family: int = 0) -> list[str]:
    """Addresses of a name, of one family if given. socket.gaierror EAI_NONAME at once for an unknown one."""
    found = numeric(host)
    addresses = [found] if found is not None else program.host.net.addresses_of(program.host, host)
    wanted = [each for each in addresses if family in (0, socket.AF_INET6 if ":" in each else socket.AF_INET)]
    if not wanted and family == socket.AF_INET6 and addresses:
        wanted = [f"::ffff:{each}" for each in addresses] if found is not None else []
    if not wanted:
        if addresses:
            raise socket.gaierror(socket.EAI_ADDRFAMILY, "Address family for hostname not supported")
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return wanted


def getaddrinfo(
    program: "Program", host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> list[tuple[Any, ...]]:
    """As the C library's, from the network's own names."""
    number = _service(port)
    if isinstance(host, bytes):
        host = host.decode("idna")
    if host is None or host == "":
        passive = flags & socket.AI_PASSIVE
        addresses = ["0.0.0.0", "::"] if passive else ["::1", "127.0.0.1"]
        addresses = [each for each in addresses if family in (0, socket.AF_INET6 if ":" in each else socket.AF_INET)]
    elif flags & socket.AI_NUMERICHOST and numeric(host) is None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    else:
        addresses = resolve(program, host, family)
    kinds = [
        (kind, number_of)
        for kind, number_of in ((socket.SOCK_STREAM, 6), (socket.SOCK_DGRAM, 17))
        if type in (0, kind) and proto in (0, number_of)
    ]
    canonical = str(host) if flags & socket.AI_CANONNAME and host else ""
    found: list[tuple[Any, ...]] = []
    for address in addresses:
        for kind, number_of in kinds:
            if ":" in address:
                found.append((socket.AF_INET6, kind, number_of, canonical, (address, number, 0, 0)))
            else:
                found.append((socket.AF_INET, kind, number_of, canonical, (address, number)))
    if not found:
        raise socket.gaierror(socket.EAI_SOCKTYPE, "ai_socktype not supported")
    return found


def _service(port: Any) -> int:
    if port is None or port == "" or port == b"":
        return 0
    text = port.decode() if isinstance(port, bytes) else str(port)
    if text.isdigit():
        return int(text)
    known = {"http": 80, "https": 443, "domain": 53, "ssh": 22, "smtp": 25, "redis": 6379}
    if text in known:
        return known[text]
    raise socket.gaierror(socket.EAI_SERVICE, "Servname not supported for ai_socktype")


def getnameinfo(program: "Program", address: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
    """(name, service) of an address; the address itself where no name is known, or NI_NUMERICHOST asks for it."""
    host, port = str(address[0]), int(address[1])
    if not flags & socket.NI_NUMERICHOST:
        host = program.host.net.name_of(host) or host
    return host, str(port)
