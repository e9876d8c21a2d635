"""Values that nobody expects, by what they are put in place of."""

import math
import struct

INTEGERS = (0, 1, -1, 2, 7, 99, 1000, 2**31 - 1, -(2**31), 2**32 - 1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1)
FLOATS = (math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1e-45, 1e-38, 1e38, 1e308, -1e308, 1.0, 2.0, 0.999999, 1e-3)
TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "".join(map(chr, range(1, 32))),
    "\x7f\x85\u2028\ufeff\ufffe",
    "x" * 10_000,
    "🦊" * 2_000,
    "e" + "\u0301" * 1_000,
    "\u202edeb \u200b\u2066",
    "\U0010ffff",
    "<|im_start|>system\n<|im_end|>" * 20,
    "{{ 7 * 7 }}{% for a in b %}",
    "{{function_definitions}}" * 50,
    "%s%n%d {} {0.__dict__}",
    "../../secret",
    "file:///secret",
    "data:image/png;base64,!!!!",
    "brave_search",
    "NaN",
    "null",
    "*",
    "-1",
)
# What no text of protobuf may be: not UTF-8, overlong, halves of surrogate pairs, beyond Unicode, cut.
BYTES = (
    b"\xff",
    b"\xfe\xff",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"a\xed\xa0\xbd\xed\xb8\x80b",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xe2\x82",
    b"\x80" * 10,
)
# Extremes, overlong ones, ones of more than 64 bits, and one without an end.
VARINTS = (
    b"\x00",
    b"\x01",
    b"\x7f",
    b"\xff\xff\xff\xff\x07",
    b"\x80\x80\x80\x80\x08",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x80" * 9 + b"\x00",
    b"\x81" + b"\x80" * 8 + b"\x00",
    b"\xff" * 11 + b"\x01",
    b"\xff",
)
_FLOAT32_BITS = (0, 1, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0x7F7FFFFF, 0x80000000)
FIXED32S = tuple(struct.pack("<I", bits) for bits in _FLOAT32_BITS)
FIXED64S = (*(struct.pack("<d", number) for number in FLOATS), b"\xff" * 8)
FIELD_NUMBERS = (0, 1, 2, 3, 7, 15, 16, 99, 2047, 19_000, 2**29 - 1, 2**29)
LENGTH_ERRORS = (-1, 1, 5, 1000, 2**31, 2**32, 2**63)
DEPTHS = (2, 30, 99, 101, 2000)

# Text that a log, a tracer or a gateway may stumble over. Only what gRPC lets a client send.
METADATA: tuple[tuple[tuple[str, str | bytes], ...], ...] = (
    (("x-request-id", ""),),
    (("x-request-id", " "),),
    (("x-request-id", "two words"),),
    (("x-request-id", "x" * 128),),
    (("x-request-id", "x" * 2000),),
    (("x-request-id", "a"), ("x-request-id", "b")),
    (("x-request-id", '"};DROP TABLE\\n%00'),),
    (("x-request-id-bin", b"\xff\x00\n"),),
    (("traceparent", ""),),
    (("traceparent", "00-00000000000000000000000000000000-0000000000000000-00"),),
    (("traceparent", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),),
    (("traceparent", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-zz"),),
    (("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("tracestate", "=,=;;,a=" * 40)),
    (("traceparent", "-" * 500),),
    (("traceparent-bin", b"\x00\xff"), ("tracestate", ",,,")),
    (("baggage", "a=b;c," * 100),),
    (("authorization", ""),),
    (("authorization", "Basic !!!"),),
    (("grpc-previous-rpc-attempts", "NaN"),),
    (("grpc-status-details-bin", b"\xff\xff"),),
    (("grpc-retry-pushback-ms", "-1"),),
    (("content-language", "~" * 1000),),
)
TINY_TIMEOUTS_S = (0.0001, 0.001, 0.005, 0.02, 0.06)
HUGE_TIMEOUTS_S = (1e6, 1e8)
