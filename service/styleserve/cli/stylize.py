"""`styleserve stylize`: one picture, by a server that was named or by a private one."""

import contextlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from styleserve.cli.connection import Server, connected, private_server, server_or_private_option
from styleserve.cli.display import Display
from styleserve.cli.errors import explained
from styleserve.cli.outcome import Outcome, follow
from styleserve.cli.output import check_place, print_json, written_beside
from styleserve.cli.plot import PLOT_FORMATS, plot_losses
from styleserve.config import NETWORKS, PRECISIONS
from styleserve.images import MIN_SIDE
from styleserve.presets import MAX_SEED, PRESETS
from styleserve.recipes import CANVAS_INITS, COLOR_MODES, MAX_ITERATIONS, OPTIMIZERS
from styleserve_client import Style, raise_for
from styleserve_client.requests import StylizeOptions

_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
#: What nobody would notice who asked for no network by name.
_STOOD_IN = (
    "painted by the light network, which comes with the package; VGG19 paints wherever its weights can be had: come "
    "back with a connection, or give their file: --weights PATH (--network vgg19 says what is wrong)"
)
#: The same of a server that was named, which tells what paints there and not why.
_STOOD_IN_THERE = (
    "painted by the light network: the server was started with it, or could not get VGG19's weights, as its log then "
    "says"
)
#: What the contract's fields hold.
_LARGEST_INT32 = 2**31 - 1
_LONGEST_S = 10**9


def _refuse_nan(_: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Every comparison with NaN is false, so that it is within any range."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("got nan; allowed: a number of seconds", param=option)
    return value


@click.command()
@click.argument("content", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--style", "styles", multiple=True, required=True, metavar="NAME_OR_IMAGE", help="may be repeated")
@click.option("--weight", "weights", multiple=True, type=float, metavar="W", help="share of each style, in their order")
@click.option(
    "--scale",
    "scales",
    multiple=True,
    type=float,
    metavar="X",
    help="size of each style's texture, 0.1 to 10, in their order",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="PNG, JPEG or WebP by its suffix")
@server_or_private_option
@click.option("--preset", type=click.Choice(tuple(PRESETS)), help="[default: the style's, or standard]")
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="[default: the style's, or the preset's]")
@click.option(
    "--iterations",
    type=click.IntRange(0, MAX_ITERATIONS),
    metavar="N",
    help="[default: the style's, or the preset's]",
)
@click.option("--strength", type=float, metavar="S", help="0 is the content, 1 the style")
@click.option(
    "--init",
    type=click.Choice(CANVAS_INITS),
    help="what the canvas starts from [default: the style's, or the preset's]",
)
@click.option(
    "--color",
    type=click.Choice(COLOR_MODES),
    help="whose colours the picture has [default: the style's, or the preset's]",
)
@click.option(
    "--max-side",
    type=click.IntRange(MIN_SIDE, _LARGEST_INT32),
    metavar="PX",
    help="longest side of the result [default: the content's, up to the server's limit]",
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), metavar="N", help="[default: the style's, or 0]")
@click.option(
    "--timeout",
    type=click.FloatRange(0, _LONGEST_S, min_open=True),
    callback=_refuse_nan,
    metavar="S",
    help="return the best canvas so many seconds after an engine took the job up",
)
@click.option("--preview-dir", type=click.Path(file_okay=False, path_type=Path), help="keep previews here")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png", help="draw the losses")
@click.option("--json", "as_json", is_flag=True, help="print the final job")
@click.option("--network", type=click.Choice(NETWORKS), help="for a private server, as of `serve`")
@click.option("--weights", "network_weights", metavar="WEIGHTS", help="for a private server, as of `serve`")
@click.option("--precision", type=click.Choice(PRECISIONS), help="for a private server, as of `serve`")
@click.option(
    "--styles", "folders", multiple=True, metavar="DIR", help="for a private server, as of `serve`; may be repeated"
)
def stylize(
    content: Path,
    styles: tuple[str, ...],
    weights: tuple[float, ...],
    scales: tuple[float, ...],
    output: Path,
    server: Server | None,
    preset: str | None,
    optimizer: str | None,
    iterations: int | None,
    strength: float | None,
    init: str | None,
    color: str | None,
    max_side: int | None,
    seed: int | None,
    timeout: float | None,
    preview_dir: Path | None,
    plot: Path | None,
    as_json: bool,
    network: str | None,
    network_weights: str | None,
    precision: str | None,
    folders: tuple[str, ...],
) -> None:
    """Paint CONTENT in one or more styles."""
    for flag, numbers in (("--weight", weights), ("--scale", scales)):
        if numbers and len(numbers) != len(styles):
            raise click.UsageError(f"got {len(styles)} --style and {len(numbers)} {flag}; allowed: as many, or none")
    for flag, path in (("--output", output), ("--plot", plot)):
        if path is not None:
            check_place(flag, path)
    if plot is not None and plot.suffix.lower() not in PLOT_FORMATS:
        raise click.UsageError(f"--plot: got {str(plot)!r}; allowed: a name that ends in {', '.join(PLOT_FORMATS)}")
    options = _options(
        output,
        preset=preset,
        optimizer=optimizer,
        iterations=iterations,
        strength=strength,
        init=init,
        color=color,
        max_side=max_side,
        seed=seed,
        run_timeout_s=timeout,
    )
    ones = (1.0,) * len(styles)
    chosen = [_style(*one) for one in zip(styles, weights or ones, scales or ones, strict=True)]
    settings = [("--network", network), ("--weights", network_weights), ("--precision", precision)]
    server_arguments = _server_arguments(server, settings + [("--styles", folder) for folder in folders])
    if server is None and max_side is not None:
        server_arguments += ("--max-side", str(max_side))
    with explained(), Display() as display:
        if preview_dir is not None:
            preview_dir.mkdir(parents=True, exist_ok=True)
            check_place("--preview-dir", preview_dir / "000000.jpg")
        display.say("starting a private server" if server is None else "calling")
        with _server(server, server_arguments) as called, connected(called) as client:
            outcome = follow(client, content, chosen, options, preview_dir, display)
        raise_for(outcome.job)
        assert outcome.picture is not None
        with written_beside(output) as path:
            outcome.picture.save(path)
        if plot is not None:
            _plot(outcome, plot)
    painter = outcome.job.provenance.weights
    if painter.startswith("untrained@"):
        click.echo("UNTRAINED WEIGHTS: this is texture, not art; see --weights", err=True)
    if painter.startswith("light@") and network != "light":
        click.echo(_STOOD_IN if server is None else _STOOD_IN_THERE, err=True)
    if as_json:
        print_json(outcome.job)
    else:
        click.echo(output)


def _options(output: Path, **values: object) -> StylizeOptions:
    """The options that were given; the format by the output's suffix."""
    suffix = output.suffix.lower()
    if suffix not in _FORMATS:
        raise click.UsageError(f"--output: got {str(output)!r}; allowed: a name that ends in {', '.join(_FORMATS)}")
    given = {name: value for name, value in values.items() if value is not None}
    options: StylizeOptions = {"image_format": _FORMATS[suffix], **given}  # type: ignore[typeddict-item]
    return options


def _style(name_or_image: str, weight: float, scale: float) -> Style:
    """A file that is there is an image; anything else is a name of the catalogue, unless it can only be a path."""
    path = Path(name_or_image)
    if path.is_file():
        return Style(path, weight, scale)
    name = name_or_image.removeprefix("styles/")
    if Path(name).name != name or path.suffix.lower() in _FORMATS:
        raise click.UsageError(
            f"--style: got {name_or_image!r}, and there is no such file; allowed: an image file, or a name of the "
            "catalogue (styleserve styles list)"
        )
    return Style(name_or_image, weight, scale)


def _server_arguments(named: Server | None, settings: Iterable[tuple[str, str | None]]) -> tuple[str, ...]:
    """The flags that were given for a private server; raises click's error when another was named."""
    given = tuple(part for flag, value in settings if value is not None for part in (flag, value))
    if named is not None and given:
        raise click.UsageError(
            f"got {' '.join(given)} for the server at {named.address}, which has settings of its own; allowed: for a "
            "private server only; leave out either these or --server and STYLESERVE_SERVER"
        )
    return given


@contextlib.contextmanager
def _server(named: Server | None, arguments: tuple[str, ...]) -> Iterator[Server]:
    """The server that was named, or a private one."""
    if named is not None:
        yield named
    else:
        with private_server(arguments) as private:
            yield private


def _plot(outcome: Outcome, plot: Path) -> None:
    """Draw the losses; where there are none, say why, and leave alone what may be there of an earlier picture."""
    if not outcome.history:
        maker = outcome.job.provenance.reused_from
        why = f"the picture was kept from {maker}" if maker else "no canvas was judged"
        click.echo(f"--plot: {why}, so there are no losses to draw", err=True)
        return
    with written_beside(plot) as path:
        plot_losses(outcome.history, path)
