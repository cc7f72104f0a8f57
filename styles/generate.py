"""Draws the images of the built-in styles: ten looks, each from a seed, so that the project owns every pixel of them.

    python styles/generate.py [NAME ...] [--out DIR]

What counts is the mark of the tool at every size, since a style's targets are statistics of its texture and not of its
composition. All looks work on a square canvas of `SIDE` pixels with colours in [0, 1].
"""

import argparse
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

Array = npt.NDArray[np.float64]
Random = np.random.Generator

SIDE = 640
MAX_BYTES = 290_000
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float64)


def palette(*colours: str) -> Array:
    """Colours given as hex, [n, 3]."""
    return np.array([[int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)] for colour in colours])


def smooth(random: Random, sigma: float) -> Array:
    """Noise with blobs of about `sigma` pixels, stretched to [0, 1]."""
    noise = gaussian_filter(random.standard_normal((SIDE, SIDE)), sigma, mode="wrap")
    return (noise - noise.min()) / np.ptp(noise)


def clouds(random: Random, sigma: float, octaves: int = 4) -> Array:
    """Smooth noise of several sizes, each half as large and half as strong as the one before, in [0, 1]."""
    layers = [smooth(random, max(0.6, sigma / 2**octave)) / 2**octave for octave in range(octaves)]
    noise = np.sum(layers, axis=0)
    return (noise - noise.min()) / np.ptp(noise)


def flow(random: Random, sigma: float) -> Array:
    """Angles of a field that turns around itself: along the level lines of smooth noise."""
    down, across = np.gradient(clouds(random, sigma, 2))
    return np.arctan2(-across, down)


def shade(height: Array, strength: float) -> Array:
    """Light from the upper left on a relief: a factor around 1 for each pixel."""
    down, across = np.gradient(height)
    return 1.0 - strength * (down + across)


def blend(colours: Array, position: Array) -> Array:
    """Colours along a ramp at `position` in [0, 1], [H, W, 3]."""
    steps = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(position, steps, colours[:, channel]) for channel in range(3)], axis=-1)


def jittered_grid(random: Random, spacing: float, jitter: float) -> Array:
    """Points (row, column) on a grid that reaches beyond the canvas, each moved by up to `jitter` of a spacing."""
    steps = np.arange(-2 * spacing, SIDE + 2 * spacing, spacing)
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    return grid + random.uniform(-jitter, jitter, grid.shape) * spacing


def cells(points: Array, rows: Array = ROWS, columns: Array = COLUMNS) -> tuple[npt.NDArray[np.intp], Array, Array]:
    """The Voronoi cell of each pixel, the distance to its point, and the distance to the cell's border."""
    distances, indices = cKDTree(points).query(np.stack([rows, columns], axis=-1), k=2)
    return indices[..., 0], distances[..., 0], (distances[..., 1] - distances[..., 0]) / 2


def at(values: Array, points: Array) -> Array:
    """Values of a field at points (row, column), those outside taken from the edge."""
    return np.asarray(map_coordinates(values, points.T, order=1, mode="nearest"))


def trace(angles: Array, start: Array, length: float, step: float = 4.0) -> Array:
    """A line of (row, column) that follows a field of angles from `start` for `length` pixels."""
    points = [start]
    for _ in range(max(2, int(length / step))):
        row, column = np.clip(points[-1].round().astype(int), 0, SIDE - 1)
        angle = angles[row, column]
        points.append(points[-1] + step * np.array([np.sin(angle), np.cos(angle)]))
    return np.array(points)


def hex_colour(colour: Array) -> tuple[int, int, int]:
    """A colour of [0, 1] as Pillow draws it."""
    red, green, blue = (np.clip(colour, 0, 1) * 255).astype(int)
    return int(red), int(green), int(blue)


def stroke(
    draw: ImageDraw.ImageDraw, relief: ImageDraw.ImageDraw, random: Random, line: Array, width: float, colour: Array
) -> None:
    """A brush stroke along `line`: bristles side by side, each of its own shade and height."""
    normals = np.stack([np.gradient(line[:, 1]), -np.gradient(line[:, 0])], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9
    taper = np.sqrt(np.sin(np.linspace(0.25, np.pi - 0.1, len(line))))[:, np.newaxis]
    for offset in np.arange(-width / 2, width / 2, 1.6):
        bristle = line + normals * offset * taper
        path = [(column, row) for row, column in bristle]
        lightness = random.normal(0, 0.045)
        draw.line(path, hex_colour(colour + lightness), 3)
        relief.line(path, int(np.clip(128 + 1400 * lightness - 6 * abs(offset), 0, 255)), 2)


def painted(
    random: Random, angles: Array, ramp: Array, position: Array, layers: Sequence[tuple[int, float, float]]
) -> Array:
    """Layers of strokes (how many, how long, how wide), coloured along a ramp, lit as thick paint is."""
    canvas = Image.fromarray((blend(ramp, position) * 255).astype(np.uint8))
    relief = Image.new("L", (SIDE, SIDE), 128)
    draw, relief_draw = ImageDraw.Draw(canvas), ImageDraw.Draw(relief)
    for count, length, width in layers:
        for start in random.uniform(-20, SIDE + 20, (count, 2)):
            row, column = np.clip(start.astype(int), 0, SIDE - 1)
            where = np.clip(position[row, column] + random.normal(0, 0.09), 0, 1)
            colour = blend(ramp, np.array([[where]]))[0, 0] + random.normal(0, 0.03, 3)
            line = trace(angles, start, length * random.uniform(0.6, 1.3))
            stroke(draw, relief_draw, random, line, width * random.uniform(0.7, 1.3), colour)
    height = gaussian_filter(np.asarray(relief, np.float64) / 255, 0.7)
    return np.asarray(canvas, np.float64) / 255 * shade(height, 0.9)[..., np.newaxis]


def mosaic(random: Random) -> Array:
    """Tesserae in wavering rows, each tilted its own way, between dark grout."""
    gold = palette("1b2a63", "20508f", "1f8a93", "d9c08a", "d8a032", "b4552d", "7c2323")
    warp = 26 * (clouds(random, 60, 2) - 0.5), 26 * (clouds(random, 60, 2) - 0.5)
    rows, columns = ROWS + warp[0], COLUMNS + warp[1]
    points = jittered_grid(random, 15, 0.2)
    index, _, border = cells(points, rows, columns)
    position = np.clip(at(clouds(random, 75, 3), points) * 1.2 - 0.1 + random.normal(0, 0.07, len(points)), 0, 1)
    colours = blend(gold, position[np.newaxis])[0] * random.uniform(0.78, 1.18, (len(points), 1))
    tilt = random.normal(0, 0.014, (len(points), 2))[index]
    slope = tilt[..., 0] * (rows - points[index, 0]) + tilt[..., 1] * (columns - points[index, 1])
    bevel = shade(np.minimum(border, 2.2), 0.13)
    tiles = colours[index] * (1 + slope + 0.05 * (smooth(random, 1.2) - 0.5))[..., np.newaxis] * bevel[..., np.newaxis]
    grout = palette("2a2622")[0] * (0.8 + 0.5 * smooth(random, 1))[..., np.newaxis]
    return np.where((border < 1.25)[..., np.newaxis], grout, tiles)


def impasto(random: Random) -> Array:
    """Thick paint in swirls, ridges catching the light."""
    ramp = palette("0f1d4a", "1d3f8c", "3b78b8", "8fbcc4", "e8dc9a", "f0b53c", "c8691c")
    layers = [(1500, 70, 17), (3000, 52, 11), (2200, 34, 7)]
    return painted(random, flow(random, 70), ramp, clouds(random, 80, 3), layers)


def pointillism(random: Random) -> Array:
    """Dots of pure colour over each other, every one a little off its neighbours' hue, some of the opposite."""
    ramp = palette("26407c", "3f7fae", "6fae8c", "b9c25c", "f2d46b", "ee9a54", "c4506a", "6a3f86")
    position = clouds(random, 95, 2)
    image = Image.fromarray((blend(ramp, position) * 255).astype(np.uint8)).resize((2 * SIDE, 2 * SIDE))
    draw = ImageDraw.Draw(image)
    for spacing, radius in ((7.0, 4.4), (6.0, 3.3), (6.5, 2.4)):
        points = jittered_grid(random, spacing, 0.6)
        random.shuffle(points)
        shift = random.normal(0, 0.12, len(points)) + 0.45 * (random.random(len(points)) < 0.14)
        dots = blend(ramp, ((at(position, points) + shift) % 1.0)[np.newaxis])[0]
        dots = np.clip(dots + random.normal(0, 0.05, dots.shape) + 0.03, 0, 1)
        for (row, column), colour, size in zip(points, dots, random.uniform(0.8, 1.25, len(points)), strict=True):
            reach = radius * size * 2
            box = (2 * column - reach, 2 * row - reach * 0.9, 2 * column + reach, 2 * row + reach * 0.9)
            draw.ellipse(box, hex_colour(colour))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float64) / 255


def woodcut(random: Random) -> Array:
    """Cut lines that swell and taper with the tone, in black over two flat inks on warm paper."""
    paper, ochre, brick, ink = palette("efe3c6", "d9a441", "b5482f", "191512")
    tone = clouds(random, 70, 3)
    points = jittered_grid(random, 150, 0.45)
    index, _, border = cells(points, ROWS + 40 * clouds(random, 40, 2), COLUMNS + 40 * clouds(random, 40, 2))
    angle = random.uniform(0, np.pi, len(points))[index] + 0.5 * (clouds(random, 90, 2) - 0.5)
    along = ROWS * np.cos(angle) - COLUMNS * np.sin(angle)
    wobble = 5 * clouds(random, 18, 3)
    lines = np.sin(2 * np.pi * (along + wobble) / 8.5)
    rough = 0.35 * (smooth(random, 1.1) - 0.5)
    cut = lines + rough > 2.6 * (tone - 0.36)
    crossing = np.sin(2 * np.pi * (ROWS * np.sin(angle) + COLUMNS * np.cos(angle) + wobble) / 9.5)
    cut |= (crossing + rough > 2.4 * tone - 0.1) & (tone < 0.42)
    flat = np.where((clouds(random, 60, 2) > 0.56)[..., np.newaxis], ochre, paper)
    flat = np.where((clouds(random, 55, 2) > 0.63)[..., np.newaxis], brick, flat)
    contour = border < 2.2 + 2.0 * smooth(random, 6)
    worn = gaussian_filter((cut | contour).astype(float), 0.6) * (0.86 + 0.14 * smooth(random, 0.8))
    grain = 1 - 0.07 * gaussian_filter(random.random((SIDE, SIDE)), (0.5, 9))[..., np.newaxis]
    return (flat * (1 - worn[..., np.newaxis]) + ink * worn[..., np.newaxis]) * grain


def stained_glass(random: Random) -> Array:
    """Panes of streaked glass lit from behind, between leads of uneven width."""
    glass = palette("0b3c8c", "0f77b8", "12a08a", "58b947", "f0cf3a", "ef8b1f", "d0322d", "8a1f6e", "e9e2d0")
    points = jittered_grid(random, 58, 0.42)
    index, distance, border = cells(points, ROWS + 16 * clouds(random, 50, 2), COLUMNS + 16 * clouds(random, 50, 2))
    colours = glass[random.integers(0, len(glass), len(points))] * random.uniform(0.75, 1.1, (len(points), 1))
    angle = random.uniform(0, np.pi, len(points))[index]
    along = ROWS * np.sin(angle) + COLUMNS * np.cos(angle)
    streaks = np.sin(along / 6 + 9 * clouds(random, 12, 3)) * 0.5 + clouds(random, 7, 3) - 0.5
    glow = 1.28 - 0.011 * distance + 0.17 * streaks
    sparkle = 0.45 * (gaussian_filter((random.random((SIDE, SIDE)) > 0.9985).astype(float), 1.3) * 14)
    pane = colours[index] * glow[..., np.newaxis] + sparkle[..., np.newaxis]
    width = 2.6 + 2.2 * smooth(random, 25)
    lead = palette("15151a")[0] * (1 + 3.2 * np.exp(-(((border - 0.8) / 0.8) ** 2)))[..., np.newaxis]
    edge = np.clip((border - width) / 1.5, 0, 1)[..., np.newaxis]
    return lead * (1 - edge) + pane * edge * (0.55 + 0.45 * np.clip((border - width) / 9, 0, 1))[..., np.newaxis]


def watercolour(random: Random) -> Array:
    """Transparent washes over each other, dark at their rims, granulating on rough paper."""
    pigments = palette("2f6ea5", "6aa7b8", "e07a5f", "f2b65a", "7a9e57", "8b5a8c", "d65a78", "3e8e8a")
    paper = palette("f8f4ea")[0]
    grain = clouds(random, 3.2, 3)
    transmitted = np.ones((SIDE, SIDE, 3))
    centres = random.permutation(jittered_grid(random, 105, 0.5))
    for wash, (row, column) in enumerate(centres):
        radius = random.uniform(60, 150) * (1 if wash % 3 else 0.5)
        distance = np.hypot(ROWS - row, COLUMNS - column) / radius
        body = 1 - distance + 1.1 * (clouds(random, 34, 5) - 0.5)
        inside = 1 / (1 + np.exp(-np.clip(body / 0.02, -40, 40)))
        rim = np.exp(-(((body - 0.035) / 0.035) ** 2))
        blooms = clouds(random, 22, 4)
        density = inside * (0.22 + 0.5 * blooms) + 0.55 * rim
        density *= (0.72 + 0.56 * grain) * random.uniform(0.5, 1.15)
        absorbed = 1 - pigments[random.integers(len(pigments))]
        transmitted *= np.exp(-density[..., np.newaxis] * absorbed * 0.8)
    texture = shade(gaussian_filter(grain, 0.8), 1.4)[..., np.newaxis]
    return paper * transmitted * (0.4 + 0.6 * texture)


def waves(random: Random) -> Array:
    """Scallops over scallops, as seas are printed from wood: indigo in steps, foam at the crests."""
    indigo = palette("f1e8d2", "16264f", "2c4f86", "f1e8d2", "4f86a8", "1d3566", "9fbfc2")
    rows = ROWS + 34 * (clouds(random, 85, 2) - 0.5) + 2.5 * clouds(random, 9, 2)
    columns = COLUMNS + 40 * (clouds(random, 85, 2) - 0.5) + 2.5 * clouds(random, 9, 2)
    radius = 46.0
    image = np.zeros((SIDE, SIDE, 3))
    for line, row in enumerate(np.arange(-radius, SIDE + 2 * radius, radius / 2)):
        shift = radius * (line % 2)
        nearest = np.round((columns - shift) / (2 * radius)) * 2 * radius + shift
        distance = np.hypot(rows - row - radius / 2, columns - nearest)
        ring = np.clip((radius - distance) / radius * 7, 0, 6.999)
        colours = indigo[ring.astype(int)]
        line_ink = np.exp(-((((ring % 1) - 0.06) / 0.09) ** 2))[..., np.newaxis]
        image = np.where((distance < radius)[..., np.newaxis], colours * (1 - 0.8 * line_ink), image)
    spray = (
        gaussian_filter((random.random((SIDE, SIDE)) > 0.9975).astype(float), 1.5) * 16 * (clouds(random, 40, 2) > 0.5)
    )
    image += np.clip(spray, 0, 1)[..., np.newaxis] * (palette("f6efdd")[0] - image)
    bokashi = 0.78 + 0.36 * clouds(random, 90, 2)
    wood = 1 - 0.16 * gaussian_filter(random.random((SIDE, SIDE)), (0.7, 16)) * 2
    return image * (bokashi * wood)[..., np.newaxis]


def cubist(random: Random) -> Array:
    """Facets that pass behind each other, shaded from one edge to the other, with brushwork inside."""
    earth = palette("3d3a33", "6e6a5c", "9c8f74", "c9b58a", "b98746", "7f5530", "4f5f4e", "8899a0", "e6dcc0")
    image = painted(random, flow(random, 90), earth, clouds(random, 70, 3), [(1800, 30, 9)])
    for _ in range(150):
        row, column, angle = *random.uniform(0, SIDE, 2), random.uniform(0, np.pi)
        across = (COLUMNS - column) * np.cos(angle) + (ROWS - row) * np.sin(angle)
        along = (ROWS - row) * np.cos(angle) - (COLUMNS - column) * np.sin(angle)
        long, wide = random.uniform(50, 170), random.uniform(25, 95)
        skew = random.uniform(-0.6, 0.6)
        inside = (np.abs(along) < long) & (across + skew * along > 0) & (across < wide)
        fade = np.clip(1 - (across + skew * along) / wide, 0, 1)
        colour = earth[random.integers(len(earth))] * random.uniform(0.75, 1.2)
        cover = inside * (0.25 + 0.65 * fade)
        image += cover[..., np.newaxis] * (colour * (0.8 + 0.4 * image.mean(axis=-1, keepdims=True)) - image)
        outline = inside & ((np.abs(across + skew * along) < 1.6) | (np.abs(np.abs(along) - long) < 1.3))
        image = np.where(outline[..., np.newaxis], image * 0.32, image)
    bristles = gaussian_filter(random.standard_normal((SIDE, SIDE)), (0.6, 4))
    return image * (1 + 0.16 * bristles)[..., np.newaxis]


def ink_wash(random: Random) -> Array:
    """Black ink from wet to dry on rice paper, with a little vermilion."""
    paper, vermilion = palette("ece4d2", "b8301f")
    fibres = gaussian_filter(random.standard_normal((SIDE, SIDE)), (0.5, 5)) + gaussian_filter(
        random.standard_normal((SIDE, SIDE)), (5, 0.5)
    )
    density = 0.75 * np.clip(clouds(random, 70, 5) - 0.45, 0, 1) ** 1.2
    angles = flow(random, 100)
    for _ in range(190):
        layer = Image.new("L", (SIDE, SIDE))
        draw = ImageDraw.Draw(layer)
        line = trace(angles, random.uniform(0, SIDE, 2), random.uniform(60, 320))
        normals = np.stack([np.gradient(line[:, 1]), -np.gradient(line[:, 0])], axis=-1) / 4
        width, wetness = random.uniform(3, 26), random.uniform(0.25, 1.0)
        for offset in np.arange(-width / 2, width / 2, 1.3):
            if random.random() < 0.35 + 0.6 * wetness:
                end = int(len(line) * random.uniform(0.5, 1.0))
                path = [(column, row) for row, column in (line + normals * offset)[: max(2, end)]]
                draw.line(path, int(255 * random.uniform(0.3, 1.0)), 2)
        dark = gaussian_filter(np.asarray(layer, np.float64) / 255, 0.6 + 2.2 * wetness)
        density = np.maximum(density, dark * random.uniform(0.35, 1.15))
    specks = gaussian_filter((random.random((SIDE, SIDE)) > 0.9992).astype(float), 2.0) * 30
    density = np.clip(density + np.clip(specks, 0, 0.9), 0, 1.2) * (1 + 0.25 * fibres)
    image = paper * (1 + 0.05 * fibres)[..., np.newaxis] * np.exp(-2.6 * density)[..., np.newaxis]
    red = np.clip((clouds(random, 26, 4) - 0.74) * 14, 0, 0.85)[..., np.newaxis]
    return image * (1 - red) + red * vermilion * (0.85 + 0.3 * clouds(random, 3, 2))[..., np.newaxis]


def batik(random: Random) -> Array:
    """Wax-resist ornaments on dyed cloth, with the fine cracks where the wax broke."""
    indigo, rust, cream, brown = palette("17264d", "a8512a", "efe2c0", "4a2a1c")
    rows, columns = ROWS + 9 * clouds(random, 40, 2), COLUMNS + 9 * clouds(random, 40, 2)
    points = jittered_grid(random, 92, 0.12)
    index, distance, border = cells(points, rows, columns)
    angle = np.arctan2(rows - points[index, 0], columns - points[index, 1]) + random.uniform(0, 6, len(points))[index]
    petals = random.integers(5, 10, len(points))[index]
    reach = 27 + 9 * np.cos(petals * angle)
    image = np.where((border < 5)[..., np.newaxis], rust, indigo)
    image = np.where(((border > 5) & (border < 8))[..., np.newaxis], cream, image)
    image = np.where((distance < reach)[..., np.newaxis], cream, image)
    image = np.where((distance < reach - 4)[..., np.newaxis], rust, image)
    image = np.where((distance < 0.55 * reach)[..., np.newaxis], cream, image)
    image = np.where((distance < 0.4 * reach)[..., np.newaxis], indigo, image)
    dots, dot_distance, _ = cells(jittered_grid(random, 11, 0.1), rows, columns)
    field = (distance > reach + 5) & (border > 11)
    image = np.where((field & (dot_distance < 2.4) & (dots % 3 != 0))[..., np.newaxis], cream, image)
    cracks = np.zeros((SIDE, SIDE))
    for spacing, width in ((46, 1.1), (19, 0.7)):
        bend = 7 * clouds(random, 10, 3), 7 * clouds(random, 10, 3)
        _, _, crack = cells(jittered_grid(random, spacing, 0.5), ROWS + bend[0], COLUMNS + bend[1])
        cracks = np.maximum(cracks, np.exp(-((crack / width) ** 2)) * (clouds(random, 30, 3) > 0.4))
    image += 0.75 * cracks[..., np.newaxis] * (brown - image)
    weave = 1 + 0.07 * np.sin(ROWS * 2.1) * np.sin(COLUMNS * 2.1) + 0.1 * (smooth(random, 0.9) - 0.5)
    dye = 0.82 + 0.36 * clouds(random, 30, 4)
    return image * (weave * dye)[..., np.newaxis]


LOOKS: dict[str, Callable[[Random], Array]] = {
    "mosaic": mosaic,
    "impasto": impasto,
    "pointillism": pointillism,
    "woodcut": woodcut,
    "stained-glass": stained_glass,
    "watercolour": watercolour,
    "waves": waves,
    "cubist": cubist,
    "ink-wash": ink_wash,
    "batik": batik,
}


def encode(pixels: Array) -> bytes:
    """The best JPEG that stays within `MAX_BYTES`."""
    image = Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    for quality in range(94, 50, -3):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MAX_BYTES:
            break
    return buffer.getvalue()


def main() -> None:
    """Draw the looks named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(LOOKS)}; all when none is given")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    arguments = parser.parse_args()
    for name in arguments.names or LOOKS:
        seed = list(LOOKS).index(name)
        (arguments.out / f"{name}.jpg").write_bytes(encode(LOOKS[name](np.random.default_rng(seed))))


if __name__ == "__main__":
    main()
