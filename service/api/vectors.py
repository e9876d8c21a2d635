"""Vectors <-> the bytes in which they travel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.api.embeddings import EmbeddingEncoding

Vector: TypeAlias = NDArray[np.float32]

FLOAT32, FLOAT16 = np.dtype("<f4"), np.dtype("<f2")
LARGEST_BYTE = 127


@dataclass(frozen=True, slots=True)
class PackedVector:
    """`scale` is what a byte of INT8 stands for, and 0 elsewhere."""

    data: bytes
    scale: float = 0.0


def pack(values: Sequence[float], encoding: EmbeddingEncoding) -> PackedVector:
    vector = np.asarray(values, FLOAT32)
    match encoding:
        case EmbeddingEncoding.FLOAT32:
            return PackedVector(vector.tobytes())
        case EmbeddingEncoding.FLOAT16:
            largest = np.finfo(FLOAT16).max
            return PackedVector(vector.clip(-largest, largest).astype(FLOAT16).tobytes())
        case EmbeddingEncoding.INT8:
            return _pack_scaled(vector)
        case EmbeddingEncoding.BINARY:
            return PackedVector(np.packbits(vector > 0).tobytes())


def unpack(packed: PackedVector, encoding: EmbeddingEncoding, dimension: int) -> Vector:
    """The vector as far as its bytes tell it: of BINARY the signs, 1 and -1."""
    match encoding:
        case EmbeddingEncoding.FLOAT32:
            vector = np.frombuffer(packed.data, FLOAT32)
        case EmbeddingEncoding.FLOAT16:
            vector = np.frombuffer(packed.data, FLOAT16)
        case EmbeddingEncoding.INT8:
            vector = np.frombuffer(packed.data, np.int8) * np.float32(packed.scale)
        case EmbeddingEncoding.BINARY:
            vector = _signs(packed.data, dimension)
    if vector.size != dimension:
        raise ValueError(f"The bytes hold a vector of {vector.size} dimensions, not of {dimension}.")
    return vector.astype(np.float32)


def _pack_scaled(vector: Vector) -> PackedVector:
    # The scale as it will be received: it travels in single precision.
    scale = np.float32(np.abs(vector).max() / LARGEST_BYTE)
    if not scale:
        return PackedVector(bytes(vector.size))
    return PackedVector(
        np.rint(vector / scale).clip(-LARGEST_BYTE, LARGEST_BYTE).astype(np.int8).tobytes(), float(scale)
    )


def _signs(data: bytes, dimension: int) -> NDArray[Any]:
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=min(dimension, 8 * len(data)))
    return bits.astype(np.float32) * 2 - 1
