"""The state diagram, drawn from `tcp.states.TRANSITIONS`: a move that is not in the table is not in the picture."""

import math
from collections.abc import Set as AbstractSet
from typing import Final

from timewait.draw.ladder import state_name
from timewait.draw.ladder_svg import STATE_CLASS
from timewait.draw.svg import Svg
from timewait.draw.text import table
from timewait.tcp.states import TRANSITIONS, State

Move = tuple[State, State]

_PLACES: Final = {
    State.CLOSED: (450, 60),
    State.LISTEN: (190, 160),
    State.SYN_RCVD: (190, 280),
    State.SYN_SENT: (710, 220),
    State.ESTABLISHED: (450, 350),
    State.FIN_WAIT_1: (190, 450),
    State.CLOSING: (450, 500),
    State.FIN_WAIT_2: (190, 610),
    State.TIME_WAIT: (450, 640),
    State.CLOSE_WAIT: (710, 450),
    State.LAST_ACK: (710, 610),
}
_LABELS: Final[dict[Move, str]] = {
    (State.CLOSED, State.LISTEN): "listen()",
    (State.CLOSED, State.SYN_SENT): "connect() / SYN",
    (State.LISTEN, State.SYN_RCVD): "SYN / SYN-ACK",
    (State.SYN_SENT, State.ESTABLISHED): "SYN-ACK / ACK",
    (State.SYN_SENT, State.SYN_RCVD): "SYN / SYN-ACK",
    (State.SYN_RCVD, State.ESTABLISHED): "ACK",
    (State.SYN_RCVD, State.FIN_WAIT_1): "close() / FIN",
    (State.ESTABLISHED, State.FIN_WAIT_1): "close() / FIN",
    (State.ESTABLISHED, State.CLOSE_WAIT): "FIN / ACK",
    (State.FIN_WAIT_1, State.FIN_WAIT_2): "ACK of FIN",
    (State.FIN_WAIT_1, State.CLOSING): "FIN / ACK",
    (State.FIN_WAIT_1, State.TIME_WAIT): "FIN, ACK of FIN / ACK",
    (State.FIN_WAIT_2, State.TIME_WAIT): "FIN / ACK",
    (State.CLOSING, State.TIME_WAIT): "ACK of FIN",
    (State.CLOSE_WAIT, State.LAST_ACK): "close() / FIN",
}
"""What makes the move, before the stroke; what is sent, behind it."""

_WIDTH: Final = 158.0
_HEIGHT: Final = 40.0
_BENDS: Final[dict[Move, tuple[float, float]]] = {(State.SYN_RCVD, State.CLOSE_WAIT): (690, 290)}
"""Control points of the moves that would run through another state."""


def state_text(visited: AbstractSet[Move] = frozenset()) -> str:
    """A table: each state, where it may go; moves that were made carry a '*'."""
    rows: list[list[str]] = []
    for state in _PLACES:
        reached = sorted(TRANSITIONS[state], key=list(_PLACES).index)
        names = [state_name(new) + ("*" if (state, new) in visited else "") for new in reached]
        rows.append([state_name(state), ", ".join(names)])
    return table(rows, head=("from", "to")) + "\n"


def state_svg(visited: AbstractSet[Move] = frozenset(), title: str = "TCP connection states") -> str:
    """The diagram of RFC 9293 figure 5; moves that were made are drawn bold.

    Moves to CLOSED other than from LISTEN and SYN-SENT (a reset or a timeout, possible
    everywhere) are a mark at the state's corner, so that the picture stays readable.
    """
    svg = Svg()
    for old, reached in TRANSITIONS.items():
        for new in sorted(reached, key=list(_PLACES).index):
            if new is State.CLOSED:
                continue
            back = old in TRANSITIONS[new]
            _edge(svg, old, new, (old, new) in visited, back)
    for state, (x, y) in _PLACES.items():
        here = any(state in move for move in visited)
        look = f"box {STATE_CLASS[state]}" + (" made" if here else "")
        svg.rect(x - _WIDTH / 2, y - _HEIGHT / 2, _WIDTH, _HEIGHT, state.rfc_name, class_=look, rx=8)
        svg.text(x, y + (4 if state is State.CLOSED else -3), state_name(state), anchor="middle", class_="bold")
        if state is not State.CLOSED and State.CLOSED in TRANSITIONS[state]:
            made = (state, State.CLOSED) in visited
            svg.text(x, y + 13, f"→ CLOSED: {_death(state)}", anchor="middle", class_="bad" if made else "dim",
                     font_size=9.5)  # fmt: skip
    count = sum(len(reached) for reached in TRANSITIONS.values())
    return svg.document(900, 700, title, f"{len(TRANSITIONS)} states, {count} moves between them.")


def _death(state: State) -> str:
    if state is State.TIME_WAIT:
        return "2MSL over"
    if state is State.LAST_ACK:
        return "ACK of FIN, RST"
    return "close()" if state is State.LISTEN else "RST, timeout"


def _edge(svg: Svg, old: State, new: State, made: bool, back: bool) -> None:
    (x1, y1), (x2, y2) = _PLACES[old], _PLACES[new]
    angle = math.atan2(y2 - y1, x2 - x1)
    # Two moves between the same states run beside each other.
    shift = 9.0 if back else 0.0
    dx, dy = -math.sin(angle) * shift, math.cos(angle) * shift
    sx, sy = _border(x1 + dx, y1 + dy, angle, x1, y1)
    tx, ty = _border(x2 + dx, y2 + dy, angle + math.pi, x2, y2)
    label = _LABELS.get((old, new), "")
    svg.open("g", f"{state_name(old)} to {state_name(new)}" + (f": {label}" if label else ""))
    bend = _BENDS.get((old, new))
    if bend is not None:
        leave, angle = math.atan2(bend[1] - y1, bend[0] - x1), math.atan2(y2 - bend[1], x2 - bend[0])
        sx, sy = _border(x1, y1, leave, x1, y1)
        tx, ty = _border(x2, y2, angle + math.pi, x2, y2)
        curve = f"M{sx:.2f} {sy:.2f}Q{bend[0]:.2f} {bend[1]:.2f} {tx:.2f} {ty:.2f}"
        svg.path(curve, class_="good made" if made else "line")
    else:
        svg.line(sx, sy, tx, ty, class_="good made" if made else "")
    svg.path("M0 0-10-4.5-10 4.5Z", class_="tip good" if made else "tip",
             transform=f"translate({tx:.2f} {ty:.2f}) rotate({math.degrees(angle):.2f})")  # fmt: skip
    if label:
        # Short of the middle: where lines cross in the middle, labels would lie on each other.
        svg.text(sx + (tx - sx) * 0.45, sy + (ty - sy) * 0.45 - 3, label, anchor="middle", class_="halo")
    svg.close("g")


def _border(x: float, y: float, angle: float, cx: float, cy: float) -> tuple[float, float]:
    """Where a ray from (x, y) leaves the box around (cx, cy)."""
    cos, sin = math.cos(angle), math.sin(angle)
    reach: list[float] = []
    if abs(cos) > 1e-9:
        reach.append((cx + math.copysign(_WIDTH / 2, cos) - x) / cos)
    if abs(sin) > 1e-9:
        reach.append((cy + math.copysign(_HEIGHT / 2, sin) - y) / sin)
    far = min(reach)
    return x + cos * far, y + sin * far
