"""Protobuf <-> api: pure functions in pairs, `x_from_proto` beside `x_to_proto`.

`from_proto` raises RequestErrors with field paths relative to its message; `at` extends them on the way up. `status`
turns errors into gRPC statuses and back.
"""
