"""Paints one photograph in every style whose image is at hand: docs/catalogue.jpg and docs/painting.jpg.

    python docs/contact_sheet.py [--weights WEIGHTS] [--preset standard] [--style-images DIR]

The style's own image stands beside the painting where the project drew it; those that it did not draw follow, without.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from skimage import data

from styleserve.cli.connection import private_server
from styleserve_client import Client

DOCS = Path(__file__).resolve().parent
SIDE, SWATCH, GAP, CAPTION = 256, 128, 12, 26
#: Two pictures with their swatches are as wide as three without.
WIDTH = 2 * (SWATCH + SIDE + 3 * GAP)
OURS = "StyleServe"
HERO, HERO_SIDE = "ink-wash", 451


def main() -> None:
    """Paint, and lay out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="auto", help="as of `styleserve serve` (default: auto)")
    parser.add_argument("--preset", default="standard", help="the recipe (default: standard)")
    parser.add_argument("--style-images", help="as of `styleserve serve`: where the paintings' images are")
    arguments = parser.parse_args()
    flags = ["--weights", arguments.weights]
    if arguments.style_images:
        flags += ["--style-images", arguments.style_images]
    photograph = Image.fromarray(data.chelsea())
    with private_server(tuple(flags)) as address, Client(address) as client:
        with_swatch: list[Image.Image] = []
        without: list[Image.Image] = []
        for style in client.styles():
            thumbnail = client.style(style.name).thumbnail.inline
            if thumbnail:
                picture = client.stylize(photograph, style.name, preset=arguments.preset, max_side=SIDE)
                is_ours = style.artist == OURS
                title = style.title if is_ours else f"{style.artist}: {style.title}"
                swatch = Image.open(io.BytesIO(thumbnail)) if is_ours else None
                (with_swatch if is_ours else without).append(_cell(title, swatch, picture.to_pil()))
        hero = client.stylize(photograph, HERO, preset=arguments.preset, max_side=HERO_SIDE, image_format="jpeg")
    hero.save(DOCS / "painting.jpg")
    _sheet([with_swatch, without]).save(DOCS / "catalogue.jpg", quality=88, optimize=True)


def _cell(title: str, swatch: Image.Image | None, painted: Image.Image) -> Image.Image:
    """The style's name, its image if it may be shown, and the photograph painted in it."""
    left = 0 if swatch is None else SWATCH + GAP
    cell = Image.new("RGB", (left + painted.width, CAPTION + painted.height), "white")
    ImageDraw.Draw(cell).text((0, 4), title, fill="black", font=_font(title, cell.width))
    if swatch is not None:
        cell.paste(swatch.resize((SWATCH, SWATCH)), (0, CAPTION))
    cell.paste(painted, (left, CAPTION))
    return cell


def _font(title: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest font, up to 16 pixels, in which the title fits."""
    sizes = (ImageFont.load_default(size) for size in range(16, 7, -1))
    return next((font for font in sizes if font.getlength(title) <= width), ImageFont.load_default(8))


def _sheet(groups: list[list[Image.Image]]) -> Image.Image:
    """One group below the other, each in rows as long as fit."""
    rows = [row for cells in groups if cells for row in _rows(cells)]
    height = rows[0][0].height + 2 * GAP
    sheet = Image.new("RGB", (WIDTH, len(rows) * height), "white")
    for index, row in enumerate(rows):
        for column, cell in enumerate(row):
            sheet.paste(cell, (column * (cell.width + 2 * GAP) + GAP, index * height + GAP))
    return sheet


def _rows(cells: list[Image.Image]) -> Iterator[list[Image.Image]]:
    length = WIDTH // (cells[0].width + 2 * GAP)
    for begin in range(0, len(cells), length):
        yield cells[begin : begin + length]


if __name__ == "__main__":
    main()
