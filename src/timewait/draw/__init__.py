"""Drawings of a record: ladders and state diagrams, as text and as SVG."""

from timewait.draw.ladder import ladder
from timewait.draw.ladder_svg import ladder_svg
from timewait.draw.states import state_svg, state_text

__all__ = ["ladder", "ladder_svg", "state_svg", "state_text"]
