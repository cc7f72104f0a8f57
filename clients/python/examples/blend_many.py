"""Paint one photograph in all styles of a tag at once, with asyncio; the server batches what it can."""

import argparse
import asyncio
from pathlib import Path

from styleserve_client import AsyncClient, Style, StyleServeError


async def paint(client: AsyncClient, photo: Path, style: str, main_style: str) -> None:
    """One painting: a third of `main_style` in it; a style that cannot be had is told and left out."""
    try:
        blend = [Style(style, weight=2), Style(main_style, weight=1)]
        picture = await client.stylize(photo, blend, preset="draft", max_side=128)
    except StyleServeError as error:
        print(f"{style}: {error}")
        return
    print(picture.save(f"{style.removeprefix('styles/')}.png"))


async def main() -> None:
    """Paint in every style that has the tag."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--style", default="impasto", help="the style that every painting shares")
    parser.add_argument("--tag", default="generated", help="only styles with this tag")
    parser.add_argument("--server", default="127.0.0.1:50051")
    arguments = parser.parse_args()
    async with AsyncClient(arguments.server) as client:
        styles = [style.name async for style in client.styles() if arguments.tag in style.tags]
        await asyncio.gather(*(paint(client, arguments.photo, style, arguments.style) for style in styles))


if __name__ == "__main__":
    asyncio.run(main())
