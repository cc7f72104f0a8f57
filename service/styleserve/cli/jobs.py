"""`styleserve jobs`: the jobs of a server."""

import click

from styleserve.cli.connection import Server, connected, json_option, server_option
from styleserve.cli.display import Display, describe_job
from styleserve.cli.errors import explained
from styleserve.cli.output import print_json, print_pairs, print_table
from styleserve.v1 import job_pb2
from styleserve_client import JobChanged


@click.group()
def jobs() -> None:
    """Look at jobs, watch and cancel them."""


@jobs.command("list")
@click.option("--state", "states", multiple=True, metavar="STATE", help="only jobs in this state; may be repeated")
@server_option
@json_option
def list_jobs(states: tuple[str, ...], server: Server, as_json: bool) -> None:
    """List jobs, the newest first."""
    numbers = [_state_number(state) for state in states]
    with explained(), connected(server) as client:
        found = list(client.jobs(numbers))
    if as_json:
        print_json(found)
        return
    print_table(("job", "state", "progress", "created"), [_row(job) for job in found])


@jobs.command("get")
@click.argument("name")
@server_option
@json_option
def get_job(name: str, server: Server, as_json: bool) -> None:
    """Show one job."""
    with explained(), connected(server) as client:
        job = client.job(name)
    _print_job(job, as_json)


@jobs.command("cancel")
@click.argument("name")
@server_option
@json_option
def cancel_job(name: str, server: Server, as_json: bool) -> None:
    """Ask a job to stop."""
    with explained(), connected(server) as client:
        job = client.cancel(name)
    _print_job(job, as_json)


@jobs.command("log")
@click.argument("name")
@server_option
@json_option
def show_log(name: str, server: Server, as_json: bool) -> None:
    """Show what happened to a job."""
    with explained(), connected(server) as client:
        lines = client.job_log(name)
    if as_json:
        print_json(lines)
        return
    print_table(("time", "level", "what happened"), [_log_row(line) for line in lines])


@jobs.command("watch")
@click.argument("name")
@server_option
@json_option
def watch_job(name: str, server: Server, as_json: bool) -> None:
    """Follow a job to its end; the exit status is 1 when it has no picture then."""
    job = job_pb2.Job()
    with explained(), connected(server) as client, Display() as display:
        for event in client.attach(name):
            display.show(event)
            if isinstance(event, JobChanged):
                job = event.job
    _print_job(job, as_json)
    if job.state != job_pb2.JOB_STATE_SUCCEEDED:
        raise click.exceptions.Exit(1)


def _print_job(job: job_pb2.Job, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        print_pairs(describe_job(job))


def _row(job: job_pb2.Job) -> tuple[str, str, str, str]:
    progress = f"{job.progress.iteration}/{job.progress.total_iterations}" if job.HasField("progress") else ""
    state = job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()
    return job.name, state, progress, job.create_time.ToJsonString()


def _log_row(line: job_pb2.LogLine) -> tuple[str, str, str]:
    level = job_pb2.LogLevel.Name(line.level).removeprefix("LOG_LEVEL_").lower()
    return line.time.ToJsonString(), level, line.text


def _state_number(name: str) -> job_pb2.JobState.ValueType:
    known = {full.removeprefix("JOB_STATE_").lower(): number for full, number in job_pb2.JobState.items() if number}
    if name not in known:
        raise click.BadParameter(f"got {name!r}; allowed: {', '.join(known)}", param_hint="--state")
    return known[name]
