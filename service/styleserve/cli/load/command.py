"""The command `styleserve load`: its flags, and what it prints."""

import asyncio
import json
from collections.abc import Iterator

import click

from styleserve.cli.connection import Server, json_option, require_answer, server_option
from styleserve.cli.errors import explained
from styleserve.cli.load.mix import DEFAULT_MIX, Kind, read_mix
from styleserve.cli.load.run import DEFAULT_CONCURRENCY, Plan, run
from styleserve.cli.load.tally import PERCENTILES, Tally, percentiles
from styleserve.cli.output import print_pairs, print_table
from styleserve.presets import MAX_SEED

_LONGEST_S = 7 * 86400.0
_HEADER = (
    *("kind", "calls", "failed", "unfinished", "never begun", "retries", "ok/s"),
    *(f"{name} ms" for name in PERCENTILES),
)


def _read_mix(_: click.Context, __: click.Parameter, source: str | None) -> tuple[Kind, ...]:
    if source is None:
        return DEFAULT_MIX
    with explained():
        return read_mix(source)


@click.command()
@server_option
@click.option(
    "--duration", type=click.FloatRange(0.1, _LONGEST_S), default=30.0, metavar="S", help="how long calls come due"
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1e5, min_open=True),
    metavar="R",
    help="calls a second, also when answers are late; latency counts from when a call was due",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help=f"callers that wait for their answers; with --rate the most calls under way [default: {DEFAULT_CONCURRENCY}; "
    "with --rate any number]",
)
@click.option(
    "--mix",
    "kinds",
    callback=_read_mix,
    metavar="FILE_OR_YAML",
    help="kinds of requests with their weights [default: pictures of three sizes, some cancelled or left, and reads]",
)
@click.option("--retry", is_flag=True, help="come back when the server says, where it refuses a call for now")
@click.option(
    "--grace", type=click.FloatRange(0, _LONGEST_S), default=30.0, metavar="S", help="how long the last calls may take"
)
@click.option(
    "--seed", type=click.IntRange(0, MAX_SEED), default=0, metavar="N", help="of the photographs and of the mix"
)
@json_option
def load(
    server: Server,
    duration: float,
    rate: float | None,
    concurrency: int | None,
    kinds: tuple[Kind, ...],
    retry: bool,
    grace: float,
    seed: int,
    as_json: bool,
) -> None:
    """Put a server under load, and measure it.

    Ctrl-C ends the load with what it has. The exit status is 0 however the calls ended, unless this program
    failed at one.
    """
    plan = Plan(kinds, duration, grace, rate, concurrency, seed, retry)
    with explained():
        require_answer(server)
        tally = asyncio.run(run(server, plan))
    if as_json:
        asked = {"server": server.address, "rate": rate, "concurrency": concurrency, "seed": seed, "retry": retry}
        click.echo(json.dumps({**asked, **tally.describe()}))
    else:
        print_table(_HEADER, _rows(tally), has_header_in_pipe=True)
        print_pairs(_notes(tally))
    if tally.has_faults:
        raise click.ClickException("calls failed in this program; the errors above that are no status are theirs")


def _rows(tally: Tally) -> Iterator[tuple[str, ...]]:
    for name, kind in tally.kinds.items():
        yield (
            name,
            str(kind.num_calls),
            str(kind.reasons.total()),
            str(kind.num_unfinished),
            str(kind.num_never_begun),
            str(kind.num_retries),
            f"{tally.succeeded_per_s(kind):.2f}",
            *("" if each is None else f"{1000 * each:.1f}" for each in percentiles(kind.latencies_s).values()),
        )


def _notes(tally: Tally) -> Iterator[tuple[str, object]]:
    yield "seconds", f"{tally.seconds:.1f}"
    yield "latest start", f"{1000 * tally.latest_start_s:.1f} ms"
    for name, kind in tally.kinds.items():
        for reason, calls in kind.reasons.most_common():
            yield reason, f"{calls} {name}"
