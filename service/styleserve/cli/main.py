"""The group of commands, and what becomes of an error: one line on standard error and an exit status of 1."""

import click

from styleserve.cli.callers import callers
from styleserve.cli.info import info
from styleserve.cli.jobs import jobs
from styleserve.cli.load.command import load
from styleserve.cli.serve import serve
from styleserve.cli.styles import styles
from styleserve.cli.stylize import stylize


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="styleserve")
def cli() -> None:
    """Paintings out of photographs: run the service, or call one."""


for command in (serve, stylize, styles, jobs, info, callers, load):
    cli.add_command(command)
