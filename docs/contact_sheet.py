"""Paints one photograph in every style whose image is at hand: docs/catalogue.jpg and docs/painting.jpg.

    python docs/contact_sheet.py [--weights WEIGHTS] [--preset standard] [--style-images DIR]

The style's own image stands beside the painting where the project drew it.
"""

import argparse
import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from skimage import data

from styleserve.cli.connection import private_server
from styleserve_client import Client

DOCS = Path(__file__).resolve().parent
COLUMNS = 2
SIDE, SWATCH, GAP, CAPTION = 256, 128, 12, 26
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
        cells = []
        for style in client.styles():
            thumbnail = client.style(style.name).thumbnail.inline
            if thumbnail:
                picture = client.stylize(photograph, style.name, preset=arguments.preset, max_side=SIDE)
                is_ours = style.artist == OURS
                title = style.title if is_ours else f"{style.artist}: {style.title}"
                swatch = Image.open(io.BytesIO(thumbnail)) if is_ours else None
                cells.append(_cell(title, swatch, picture.to_pil()))
        hero = client.stylize(photograph, HERO, preset=arguments.preset, max_side=HERO_SIDE, image_format="jpeg")
    hero.save(DOCS / "painting.jpg")
    _sheet(cells).save(DOCS / "catalogue.jpg", quality=88, optimize=True)


def _cell(title: str, swatch: Image.Image | None, painted: Image.Image) -> Image.Image:
    """The style's name, its image if it may be shown, and the photograph painted in it."""
    cell = Image.new("RGB", (SWATCH + GAP + painted.width, CAPTION + painted.height), "white")
    ImageDraw.Draw(cell).text((0, 4), title, fill="black", font=ImageFont.load_default(16))
    if swatch is not None:
        cell.paste(swatch.resize((SWATCH, SWATCH)), (0, CAPTION))
    cell.paste(painted, (SWATCH + GAP, CAPTION))
    return cell


def _sheet(cells: list[Image.Image]) -> Image.Image:
    width, height = cells[0].width + 2 * GAP, cells[0].height + 2 * GAP
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(cells) // COLUMNS) * height), "white")
    for index, cell in enumerate(cells):
        sheet.paste(cell, (index % COLUMNS * width + GAP, index // COLUMNS * height + GAP))
    return sheet


if __name__ == "__main__":
    main()
