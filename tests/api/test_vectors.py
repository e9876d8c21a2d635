"""Vectors as bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.embeddings import EmbeddingEncoding
from service.api.vectors import PackedVector, pack, unpack

FLOAT32, FLOAT16, INT8, BINARY = EmbeddingEncoding
vectors = st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=40)


@given(vectors)
def test_floats_come_back_as_they_were(values: list[float]) -> None:
    assert unpack(pack(values, FLOAT32), FLOAT32, len(values)).tolist() == values


@given(vectors)
def test_half_floats_come_back_as_the_nearest(values: list[float]) -> None:
    assert np.array_equal(unpack(pack(values, FLOAT16), FLOAT16, len(values)), np.float16(values))


@given(vectors)
def test_bytes_come_back_within_half_a_step(values: list[float]) -> None:
    packed = pack(values, INT8)
    assert np.abs(unpack(packed, INT8, len(values)) - values).max() <= packed.scale * 0.501 + 1e-30


@given(vectors)
def test_signs_come_back(values: list[float]) -> None:
    assert np.array_equal(unpack(pack(values, BINARY), BINARY, len(values)) > 0, np.array(values) > 0)


def test_the_bytes_are_those_of_the_contract() -> None:
    values = [1.0, -0.5, 0.0]
    assert pack(values, FLOAT32).data.hex() == "0000803f000000bf00000000"
    assert pack(values, FLOAT16).data.hex() == "003c00b80000"
    assert pack(values, INT8) == PackedVector(bytes([127, 192, 0]), pytest.approx(1 / 127))
    assert pack(values, BINARY).data == bytes([0b1000_0000])


def test_what_half_precision_cannot_hold_is_its_largest() -> None:
    assert unpack(pack([1e9, -1e9], FLOAT16), FLOAT16, 2).tolist() == [65504, -65504]


def test_a_vector_of_zeros_has_no_scale() -> None:
    assert pack([0.0, 0.0], INT8) == PackedVector(b"\0\0", 0.0)


def test_a_wrong_dimension_is_noticed() -> None:
    with pytest.raises(ValueError, match="of 2 dimensions, not of 3"):
        unpack(pack([1.0, 2.0], FLOAT32), FLOAT32, 3)
