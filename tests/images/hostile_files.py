"""Files that are no image, or one that would do harm if it were unpacked. All are to be refused, however they come."""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from tests.pictures import picture

PNG = b"\x89PNG\r\n\x1a\n"
UNREAD = "It is no image of a kind that is read"
DAMAGED = "The image is damaged or cut off."
TOO_MANY = "The image has too many pixels"
NOT_SO = "It says image/png, and the image is a"
ANIMATED = "The image is animated."
OTHER_TYPE = "Images of "
NO_IMAGE_TYPE = ("The MIME type is not that of an image", "What the host answers with is not an image.")


@dataclass(frozen=True)
class HostileFile:
    """What is sent as what, and how the refusal begins; the first is of a type that is sent, the second fetched."""

    name: str
    data: bytes
    told: str | tuple[str, ...]
    mime_type: str = "image/png"


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    check = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def png(width: int, height: int, *more: bytes, pixels: bytes | None = None) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = zlib.compress(bytes(64)) if pixels is None else pixels
    return PNG + header + b"".join(more) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def giant_jpeg() -> bytes:
    data = bytearray(picture(kind="JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def animation() -> bytes:
    file = BytesIO()
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def of_kind(kind: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


BOMB = zlib.compress(bytes(64 * 1024 * 1024), 9)
WEBP_HEADER = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\xff" * 2
HTML = b"<!doctype html><script>alert(1)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://169.254.169.254/"/></svg>'
ENTITIES = b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + SVG

HOSTILE_FILES = [
    HostileFile("PNG of ten gigapixels", png(100_000, 100_000), TOO_MANY),
    HostileFile("PNG of all pixels that a header can tell", png(0x7FFFFFFF, 0x7FFFFFFF), TOO_MANY),
    HostileFile("PNG a line wide", png(1, 40_000_000), TOO_MANY),
    HostileFile("PNG of no pixels", png(0, 0), (DAMAGED, UNREAD)),
    HostileFile("PNG whose pixels are missing", png(100, 100), DAMAGED),
    HostileFile("PNG with a bomb of a comment", png(8, 8, chunk(b"zTXt", b"a\0\0" + BOMB)), DAMAGED),
    HostileFile("PNG with a bomb of a profile", png(8, 8, chunk(b"iCCP", b"a\0\0" + BOMB), pixels=b"x"), DAMAGED),
    HostileFile("PNG with a wrong checksum", PNG + chunk(b"IHDR", bytes(13), crc=1), (DAMAGED, UNREAD)),
    HostileFile("PNG cut off in its header", picture()[:20], (DAMAGED, UNREAD)),
    HostileFile("PNG cut off in its pixels", picture()[:60], DAMAGED),
    HostileFile("PNG's first bytes and a page", PNG + HTML, (DAMAGED, UNREAD)),
    HostileFile("JPEG of four gigapixels", giant_jpeg(), TOO_MANY, "image/jpeg"),
    HostileFile("JPEG cut off", picture(kind="JPEG")[:-200], DAMAGED, "image/jpeg"),
    HostileFile("JPEG's first bytes", b"\xff\xd8\xff\xe0" + b"A" * 100, (DAMAGED, UNREAD), "image/jpeg"),
    HostileFile("GIF of four gigapixels", b"GIF89a\xff\xff\xff\xff\0\0\0", (TOO_MANY, DAMAGED, UNREAD), "image/gif"),
    HostileFile("GIF that is a script", b"GIF89a/*\x2a\x2f=1;alert(1)//", (TOO_MANY, DAMAGED, UNREAD), "image/gif"),
    HostileFile("GIF that moves", animation(), ANIMATED, "image/gif"),
    HostileFile(
        "WebP of 281 terapixels",
        b"RIFF" + struct.pack("<I", 4 + len(WEBP_HEADER)) + b"WEBP" + WEBP_HEADER,
        (TOO_MANY, DAMAGED, UNREAD),
        "image/webp",
    ),
    HostileFile("WebP cut off", picture(kind="WEBP")[:30], (DAMAGED, UNREAD), "image/webp"),
    HostileFile("SVG", SVG, OTHER_TYPE, "image/svg+xml"),
    HostileFile("SVG with entities", ENTITIES, OTHER_TYPE, "image/svg+xml"),
    HostileFile("SVG that says PNG", SVG, UNREAD),
    HostileFile("page", HTML, NO_IMAGE_TYPE, "text/html"),
    HostileFile("page that says PNG", HTML, UNREAD),
    HostileFile("PDF with an image inside", b"%PDF-1.7\n" + picture(kind="JPEG"), UNREAD),
    HostileFile("archive with an image inside", b"PK\x03\x04" + picture(), UNREAD),
    HostileFile("program", b"\x7fELF" + bytes(100), UNREAD),
    HostileFile("PostScript, which Pillow would have Ghostscript run", of_kind("EPS"), UNREAD),
    HostileFile("PostScript that says so", of_kind("EPS"), OTHER_TYPE, "image/eps"),
    HostileFile("TIFF", of_kind("TIFF"), UNREAD),
    HostileFile("BMP", of_kind("BMP"), UNREAD),
    HostileFile("icon", of_kind("ICO"), UNREAD),
    HostileFile("PPM", of_kind("PPM"), UNREAD),
    HostileFile("JPEG that says PNG", picture(kind="JPEG"), NOT_SO),
    HostileFile("GIF that says PNG", picture(kind="GIF"), NOT_SO),
    HostileFile("zeros", bytes(1000), UNREAD),
    HostileFile("one byte", b"\x89", UNREAD),
]
