"""Every lab in a few words, so that listing them imports none. Written by tools/lab_index.py."""

from typing import Final, NamedTuple


class Entry(NamedTuple):
    """A lab as the list shows it."""

    module: str
    title: str
    title_zh: str
    truth: str
    on: str
    variants: str


INDEX: Final[dict[str, Entry]] = {
    "EST-01": Entry("handshake", "Three packets open a connection", "三次握手建立连接", "true", "sim live kernel", ""),
    "EST-05": Entry(
        "handshake", "A SYN uses up one sequence number", "SYN 占用一个序号", "true", "sim live kernel", ""
    ),
}
