"""ICMP types and codes by the names that scripts use, for IPv4 (RFC 792, 1122, 1812) and IPv6 (RFC 4443)."""

import re
from typing import Final

V4_TYPES: Final = {
    "echo_reply": 0,
    "unreachable": 3,
    "destination_unreachable": 3,
    "source_quench": 4,
    "redirect": 5,
    "echo": 8,
    "echo_request": 8,
    "time_exceeded": 11,
    "parameter_problem": 12,
    "timestamp": 13,
    "timestamp_reply": 14,
    "information": 15,
    "information_reply": 16,
    "address": 17,
    "address_reply": 18,
}
V6_TYPES: Final = {
    "unreachable": 1,
    "destination_unreachable": 1,
    "packet_too_big": 2,
    "time_exceeded": 3,
    "parameter_problem": 4,
    "echo": 128,
    "echo_request": 128,
    "echo_reply": 129,
}
V4_CODES: Final = {
    3: {
        "net_unreachable": 0,
        "host_unreachable": 1,
        "protocol_unreachable": 2,
        "port_unreachable": 3,
        "frag_needed": 4,
        "source_route_failed": 5,
        "net_unknown": 6,
        "host_unknown": 7,
        "source_host_isolated": 8,
        "net_prohibited": 9,
        "host_prohibited": 10,
        "net_unreachable_for_tos": 11,
        "host_unreachable_for_tos": 12,
        "packet_filtered": 13,
        "admin_prohibited": 13,
        "precedence_violation": 14,
        "precedence_cutoff": 15,
    },
    5: {"redirect_for_net": 0, "redirect_for_host": 1, "redirect_for_tos_and_net": 2, "redirect_for_tos_and_host": 3,
        "net": 0, "host": 1, "net_for_tos": 2, "host_for_tos": 3},
    11: {"exceeded_in_transit": 0, "ttl_exceeded_in_transit": 0, "ttl_exceeded": 0, "transit": 0,
         "exceeded_in_reassembly": 1, "fragment_reassembly_time_exceeded": 1, "fragment_time_exceeded": 1,
         "reassembly": 1},
    12: {"pointer": 0, "pointer_problem": 0, "missing_option": 1, "bad_length": 2},
}  # fmt: skip
V6_CODES: Final = {
    1: {
        "no_route": 0,
        "net_unreachable": 0,
        "admin_prohibited": 1,
        "not_neighbour": 2,
        "beyond_scope": 2,
        "address_unreachable": 3,
        "host_unreachable": 3,
        "port_unreachable": 4,
        "policy_fail": 5,
        "reject_route": 6,
    },
    3: {"exceeded_in_transit": 0, "hop_limit": 0, "ttl_exceeded_in_transit": 0, "exceeded_in_reassembly": 1,
        "fragment_time": 1},
    4: {"erroneous_header": 0, "header_field": 0, "unrecognized_next_header": 1, "unknown_next_header": 1,
        "unrecognized_option": 2, "unknown_option": 2},
}  # fmt: skip

_NUMERIC: Final = re.compile(r"(type|code)_(\d{1,3})")


def type_number(name: str, version: int) -> int | None:
    """The type that a name means in an IP version; `type_N` is N."""
    numeric = _NUMERIC.fullmatch(name)
    if numeric is not None and numeric.group(1) == "type":
        return int(numeric.group(2))
    return (V4_TYPES if version == 4 else V6_TYPES).get(name)


def code_number(kind: int, name: str, version: int) -> int | None:
    """The code that a name means for a type; '' is 0, `code_N` is N."""
    if not name:
        return 0
    numeric = _NUMERIC.fullmatch(name)
    if numeric is not None and numeric.group(1) == "code":
        return int(numeric.group(2))
    return (V4_CODES if version == 4 else V6_CODES).get(kind, {}).get(name)


def check_names(kind: str, code: str) -> str:
    """'' if the names exist in one of the IP versions, else what is wrong."""
    found = False
    for version in (4, 6):
        number = type_number(kind, version)
        if number is None:
            continue
        found = True
        if code_number(number, code, version) is not None:
            return ""
    if not found:
        return f"unknown ICMP type {kind!r}; there are {', '.join(sorted({*V4_TYPES, *V6_TYPES}))} and type_N"
    known = sorted({name for table in (V4_CODES, V6_CODES) for codes in table.values() for name in codes})
    return f"unknown code {code!r} of ICMP type {kind!r}; there are {', '.join(known)} and code_N"
