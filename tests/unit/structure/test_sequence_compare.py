"""Sequence numbers never meet `<`: they live on a circle and compare by timewait.base.seq only.

A name says what it holds. `seq`, `ack`, `snd_una`, `rcv_nxt`, `iss`, anything ending in
`_seq` and their like are sequence numbers; so is a sum with one of them. A difference of
two is a distance and compares as any number does. An offset into a stream (unwrapped, or
counted from the start of a connection) takes a name that ends in `_off`, a length one
that ends in `_len`.
"""

import ast
import re

import pytest

from support.source import files, name_of, tree_of

SEQUENCE = re.compile(
    r"_*(?:seq|ack|una|nxt|wl1|wl2|iss|irs|isn|fin_seq"
    r"|snd_(?:una|nxt|wl1|wl2|up|sml)|rcv_(?:nxt|wup|up)|seg_(?:seq|ack)"
    r"|\w+_seq|high_(?:data|rxt|ack)|recovery_point|undo_marker|(?:sack_)?(?:left|right)_edge)"
)
RESULTS = {"seq_add", "seq_max", "seq_min"}
"""Functions of timewait.base.seq that return a sequence number."""
CASTS = {"int", "i64"}
ORDERING = (ast.Lt, ast.Gt, ast.LtE, ast.GtE)


def is_sequence(node: ast.expr) -> bool:
    """Whether an expression holds a sequence number, judged by its names."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return SEQUENCE.fullmatch(name) is not None
        case ast.BinOp(op=ast.Add() | ast.BitAnd()):
            # seq + length, and (seq + length) & SEQ_MASK
            return is_sequence(node.left) or is_sequence(node.right)
        case ast.Call(func=ast.Name(id=name)) if name in RESULTS:
            return True
        case ast.Call(func=ast.Name(id=name), args=[argument]) if name in CASTS:
            return is_sequence(argument)
    return False


def violations(tree: ast.AST) -> list[str]:
    """Every ordering of a sequence number in a tree, as 'line: expression'."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Compare():
                operands = [node.left, *node.comparators]
                pairs = zip(operands, node.ops, operands[1:], strict=False)
                bad = any(isinstance(op, ORDERING) and (is_sequence(a) or is_sequence(b)) for a, op, b in pairs)
            case ast.Call(func=ast.Name(id="min" | "max" | "sorted")):
                bad = any(is_sequence(argument) for argument in node.args)
            case _:
                continue
        if bad:
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("path", files("tcp", "host"), ids=name_of)
def test_sequence_numbers_are_never_ordered_directly(path):
    assert violations(tree_of(path)) == []


@pytest.mark.parametrize(
    "code",
    [
        "seg.seq < tcb.rcv_nxt",
        "tcb.snd_una <= seg.ack <= tcb.snd_nxt",
        "self._end_seq >= 5",
        "seg.seq + seg.length > limit",
        "(seg.seq + 1) & SEQ_MASK > limit",
        "snd.una < x",
        "max(tcb.snd_una, seg.ack)",
        "sorted(x, copied_seq)",
        "int(seq) < 3",
        "limit < seq_add(a, 1)",
    ],
)
def test_ordering_is_found(code):
    assert violations(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "seq_lt(seg.seq, tcb.rcv_nxt)",
        "seg.seq == tcb.rcv_nxt",
        "tcb.snd_nxt - tcb.snd_una < window",
        "(seg.ack - tcb.snd_una) & SEQ_MASK > window",
        "start_off < end_off",
        "seq_off < data_len",
        "seq_diff(a_seq, b_seq) > 0",
        "min(seg.length, window)",
        "seg.flags & ACK > 0",
    ],
)
def test_what_may_be_compared_passes(code):
    assert violations(ast.parse(code)) == []
