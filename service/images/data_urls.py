"""Images that are their own URL (RFC 2397), in the one spelling that images have: `data:image/png;base64,...`."""

import asyncio
import binascii
import re

from service.errors import InvalidField
from service.images.loaded import ByteBudget, LoadedImage, image_type

SCHEME = "data:"
HEAD = re.compile(r"data:(?P<type>[^,;]*)(?P<parameters>(?:;[^,;]*)*?)(?P<base64>;base64)?,", re.IGNORECASE)
LONGEST_HEAD = 256
# Multiples of four, so that each piece can be decoded by itself. A piece takes about a tenth of a millisecond.
PIECE = 64 * 1024
LONG = 4 * PIECE


async def image_of_data_url(url: str, field: str, budget: ByteBudget) -> LoadedImage:
    """Raises InvalidField."""
    head = HEAD.match(url[:LONGEST_HEAD])
    if head is None:
        raise InvalidField(field, "A data URL is written as `data:image/png;base64,` and the image in base64.")
    mime_type = image_type(head["type"], field)
    if head["base64"] is None:
        raise InvalidField(field, "An image in a data URL has to be in base64, and say so: `;base64`.")
    if not budget.take(_decoded_size(url, head.end())):
        raise InvalidField(field, budget.exceeded)
    return LoadedImage(await _decoded(url, head.end(), field), mime_type)


def _decoded_size(url: str, begin: int) -> int:
    padding = 2 if url.endswith("==") else int(url.endswith("="))
    return (len(url) - begin) // 4 * 3 - padding


async def _decoded(url: str, begin: int, field: str) -> bytes:
    try:
        if len(url) < LONG:
            return _decode(url, begin)
        return await asyncio.to_thread(_decode, url, begin)
    except ValueError:
        raise InvalidField(
            field, "What follows the comma is not base64 (RFC 4648, section 4, with its padding)."
        ) from None


def _decode(url: str, begin: int) -> bytes:
    """In pieces, between which other threads have their turn. Raises ValueError."""
    pieces = (url[at : at + PIECE] for at in range(begin, len(url), PIECE))
    decoded = b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)
    # The strict mode still takes too much of padding, and knows nothing of that between two pieces.
    if len(decoded) != _decoded_size(url, begin) or (len(url) - begin) % 4:
        raise ValueError("wrong padding")
    return decoded
