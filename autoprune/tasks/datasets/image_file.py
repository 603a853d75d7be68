"""Reading one image of a folder that others may have filled."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from autoprune.errors import DataError
from autoprune.utils.plain_files import open_plain
from autoprune.utils.untrusted import short_line

_FORMATS = ("JPEG", "MPO", "PNG", "PPM", "BMP", "DIB", "TIFF", "WEBP", "GIF", "AVIF")
"""What pictures are, whatever their names end with. For EPS, Pillow would start Ghostscript."""
MOST_PIXELS = 100_000_000
"""Of an image, which takes three times as many bytes."""


def read_image(path: str | Path) -> Image.Image:
    """An image in RGB.

    Raises:
        DataError: when it is missing, no image, or has too many pixels.
    """
    try:
        with open_plain(Path(path)) as file, Image.open(file, formats=_known()) as image:
            if image.width * image.height <= MOST_PIXELS:
                return image.convert("RGB")
            extent = f"{image.width} x {image.height} pixels, more than {MOST_PIXELS:,}"
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image of {', '.join(_known())}: take it out, or convert it") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read ({short_line(error)}): take it out, or copy it again"
        ) from error
    raise DataError(f"{path} has {extent}: make it smaller")


@cache
def _known() -> tuple[str, ...]:
    """Those of the formats that Pillow reads here."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)
