"""Images of samples: PNG from arrays, and what may pass for one."""

import base64
import binascii
import struct
import zlib
from typing import Any

from paperround.errors import CardError

IMAGE_LIMIT_BYTES = 1 << 20
ALL_IMAGES_LIMIT_BYTES = 12 << 20
_SIDE_LIMIT_PX = 4_096
_MAGIC = b"\x89PNG\r\n\x1a\n"
# Colour types of PNG by the number of channels.
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def png_of(image: Any) -> bytes:
    """The image as PNG: PNG bytes as they are, an array encoded.

    An array is (height, width) or (height, width, channels) with 1 to 4 channels: uint8, or real
    numbers from 0 to 1; a tensor of that shape does as well. Raises CardError for anything else,
    and for an image larger than 1 MiB or 4,096 pixels a side.
    """
    png = image if isinstance(image, bytes) else _encoded(image)
    png_size(png)
    return png


def png_size(png: bytes) -> tuple[int, int]:
    """The width and height that a PNG declares. Raises CardError where it is none or too large."""
    if not png.startswith(_MAGIC) or len(png) < 33 or png[12:16] != b"IHDR":
        raise CardError("an image is bytes but not a PNG")
    if len(png) > IMAGE_LIMIT_BYTES:
        raise CardError(f"an image has {len(png):,} bytes; at most {IMAGE_LIMIT_BYTES:,}")
    width, height = struct.unpack(">II", png[16:24])
    # What a browser unpacks grows with the sides, whatever the file's size.
    if not (0 < width <= _SIDE_LIMIT_PX and 0 < height <= _SIDE_LIMIT_PX):
        raise CardError(f"an image of {width} by {height} pixels; at most {_SIDE_LIMIT_PX} a side")
    return width, height


def decoded(image: str) -> bytes:
    """The PNG behind its base64. Raises CardError where it is none."""
    try:
        png = base64.b64decode(image, validate=True)
    except binascii.Error as error:
        raise CardError(f"an image is not base64: {error}") from error
    png_size(png)
    return png


def _encoded(image: Any) -> bytes:
    import numpy as np

    try:
        array = np.asarray(image)
    except (TypeError, ValueError) as error:
        raise CardError(f"an image is neither PNG bytes nor an array: {error}") from error
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in _COLOUR_TYPES or 0 in array.shape:
        raise CardError(f"an image of shape {array.shape}; (height, width) or with 1 to 4 channels")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise CardError("an image of real numbers that are not all between 0 and 1")
        array = np.round(array * 255).astype(np.uint8)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8:
        raise CardError(f"an image of {array.dtype}; uint8, or real numbers from 0 to 1")
    height, width, channels = array.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    # Each row begins with its filter: 0, none.
    rows = np.concatenate(
        [np.zeros((height, 1), np.uint8), array.reshape(height, width * channels)], axis=1
    )
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return _MAGIC + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
