"""`styleserve load`: against a real server with the toy engine, and what its figures mean."""

import asyncio
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from click.testing import CliRunner

from styleserve.cli.load.calls import Outcome
from styleserve.cli.load.mix import Kind, read_mix
from styleserve.cli.load.tally import Tally, percentiles
from styleserve.cli.main import cli
from styleserve.errors import ConfigurationError
from styleserve.v1 import job_pb2, style_transfer_pb2
from support.service import Service, running

QUICK = "{style: styles/plain-grey, side: 16, preset: classic, iterations: 2}"
ALL_KINDS = (
    "{paints: {do: paint, style: styles/plain-grey, side: 16, iterations: 2, optimizer: adam},"
    " watched: {do: watch, style: styles/plain-grey, side: 16, iterations: 2},"
    " cancelled: {do: cancel, style: styles/plain-grey, side: 16, preset: classic, iterations: 9000, after_s: 0.1},"
    " left: {do: leave, style: styles/plain-grey, side: 16, preset: classic, iterations: 9000, after_s: 0.1},"
    " reads: {do: read}}"
)


async def run(address: str, *arguments: str) -> dict:
    """What the command prints as JSON."""
    command = ["load", "--server", address, *arguments, "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, cli, command)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def until_a_job_came(service: Service, *states: job_pb2.JobState) -> None:
    """One in any of the states; in whatever state where none are named."""
    deadline = time.monotonic() + 60
    while not (await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest(states=states))).jobs:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def seeds_of_jobs(service: Service) -> list[int]:
    jobs = (await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest())).jobs
    return [json.loads(job.provenance.recipe_json)["seed"] for job in jobs]


def slowly(seconds: float):
    return functools.partial(time.sleep, seconds)


async def test_callers_make_calls_of_every_kind_and_leave_no_job_behind(tmp_path):
    async with running(tmp_path, slowly(0.01)) as service:
        figures = await run(service.address, "--duration", "3", "--concurrency", "4", "--mix", ALL_KINDS)
        jobs = (await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest(page_size=1000))).jobs
        for job in jobs:
            await service.wait_for(job.name, job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_CANCELLED)
    kinds = figures["kinds"]
    assert figures["errors"] == []
    assert set(kinds) == {"paints", "watched", "cancelled", "left", "reads"}
    assert all(kind["succeeded"] == kind["calls"] > 0 for kind in kinds.values()), kinds
    started = sum(kinds[name]["calls"] for name in kinds if name != "reads")
    assert len(jobs) == started
    assert len({job.provenance.recipe_json for job in jobs if job.HasField("result")}) == (
        kinds["paints"]["calls"] + kinds["watched"]["calls"]
    )
    for kind in kinds.values():
        assert 0 < kind["latency_ms"]["p50"] <= kind["latency_ms"]["p99.9"] <= kind["latency_ms"]["max"]


async def test_at_a_rate_calls_come_when_they_are_due_and_latency_counts_from_then(tmp_path):
    async with running(tmp_path, slowly(0.1)) as service:
        mix = f"{{slow: {QUICK}}}"
        figures = await run(service.address, "--rate", "20", "--concurrency", "1", "--duration", "0.4", "--mix", mix)
    slow = figures["kinds"]["slow"]
    assert slow["calls"] == slow["succeeded"] == 8
    # Each takes two steps of the engine at least, one call after the other; the last was due after 0.35 s.
    assert slow["latency_ms"]["max"] > 1000 * (8 * 0.2 - 0.4)
    assert figures["latest_start_ms"] > 1000 * (7 * 0.2 - 0.4)


async def test_refusals_are_counted_by_reason_and_do_not_end_the_load(tmp_path):
    async with running(tmp_path, slowly(0.05), max_running=1, max_queue=1) as service:
        mix = f"{{paints: {QUICK}, strange: {{style: nobody, side: 16}}}}"
        figures = await run(service.address, "--rate", "60", "--duration", "1", "--mix", mix)
    reasons = Counter({(error["kind"], error["reason"]): error["calls"] for error in figures["errors"]})
    assert {("paints", "QUEUE_FULL"), ("strange", "STYLE_NOT_FOUND")} <= set(reasons)
    assert figures["kinds"]["paints"]["succeeded"] > 0
    assert sum(kind["calls"] for kind in figures["kinds"].values()) == 60


async def test_with_retry_what_is_refused_for_now_comes_back_as_it_was_and_gets_through(tmp_path):
    async with running(tmp_path, slowly(0.05), max_running=1, max_queue=1) as service:
        arguments = ("--rate", "60", "--duration", "0.1", "--retry", "--mix", f"{{paints: {QUICK}}}")
        figures = await run(service.address, *arguments)
        seeds = sorted(await seeds_of_jobs(service))
    paints = figures["kinds"]["paints"]
    assert paints["succeeded"] == paints["calls"] == 6
    assert paints["retries"] > 0
    assert seeds == list(range(seeds[0], seeds[0] + 6))


async def test_no_run_is_answered_with_the_pictures_of_another(tmp_path):
    async with running(tmp_path, no_cache=False) as service:
        for _ in range(2):
            await run(service.address, "--rate", "20", "--duration", "0.2", "--mix", f"{{paints: {QUICK}}}")
        jobs = (await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest())).jobs
    assert len(jobs) == 8
    assert not any(job.provenance.reused_from for job in jobs)


async def test_calls_that_the_grace_does_not_suffice_for_are_broken_off_and_counted(tmp_path):
    async with running(tmp_path, slowly(0.1)) as service:
        endless = "style: styles/plain-grey, side: 16, preset: classic, iterations: 9000, after_s: 99"
        mix = "{" + ", ".join(f"{do}: {{do: {do}, {endless}}}" for do in ("paint", "watch", "cancel")) + "}"
        figures = await run(service.address, "--duration", "0.5", "--grace", "1", "--concurrency", "9", "--mix", mix)
        jobs = (await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest())).jobs
        for job in jobs:
            await service.wait_for(job.name, job_pb2.JOB_STATE_CANCELLED)
    kinds = figures["kinds"].values()
    assert [kind["unfinished"] for kind in kinds] == [kind["calls"] for kind in kinds]
    assert sum(kind["calls"] for kind in kinds) == len(jobs) == 9
    assert figures["errors"] == []
    # The second that was waited for them does not make what went well any slower.
    assert figures["seconds"] >= 1.5
    assert figures["measured_seconds"] == 0.5


async def test_calls_that_never_found_a_place_are_told_apart_from_those_that_did(tmp_path):
    async with running(tmp_path, slowly(0.1)) as service:
        mix = "{endless: {style: styles/plain-grey, side: 16, preset: classic, iterations: 9000}}"
        limits = ("--rate", "20", "--concurrency", "1", "--duration", "0.5", "--grace", "0")
        endless = (await run(service.address, *limits, "--mix", mix))["kinds"]["endless"]
    assert (endless["calls"], endless["unfinished"], endless["never_begun"]) == (1, 1, 9)


async def test_callers_of_a_server_that_went_away_ask_again_now_and_then(tmp_path):
    async with running(tmp_path) as service:
        mix = f"{{paints: {QUICK}}}"
        load = asyncio.create_task(run(service.address, "--duration", "4", "--concurrency", "4", "--mix", mix))
        await until_a_job_came(service, job_pb2.JOB_STATE_SUCCEEDED)
    figures = await load
    assert figures["kinds"]["paints"]["succeeded"] > 0
    failed = {error["reason"]: error["calls"] for error in figures["errors"]}
    assert 0 < failed["UNAVAILABLE"] <= 4 * 5


async def test_a_token_that_nobody_has_is_counted_as_the_servers_answer(tmp_path):
    (tmp_path / "callers.yaml").write_text(f"callers: {{editor: {{token_sha256: ['{'0' * 64}'], scopes: [read]}}}}")
    async with running(tmp_path, callers=tmp_path / "callers.yaml") as service:
        limits = ("--rate", "10", "--duration", "0.5", "--token", "nobodys", "--mix", f"{{paints: {QUICK}}}")
        figures = await run(service.address, *limits)
    assert [(error["reason"], error["calls"]) for error in figures["errors"]] == [("UNAUTHENTICATED", 5)]


@pytest.mark.parametrize("token", ["ed\nitor", "kä", "two words", ""])
def test_a_token_that_no_header_can_carry_is_refused(token):
    result = CliRunner().invoke(cli, ["load", "--token", token])
    assert result.exit_code == 2
    assert "allowed: visible ones of ASCII" in result.output


async def test_what_fails_in_this_program_is_named_and_is_no_success(tmp_path):
    async with running(tmp_path) as service:
        mix = '{strange: {style: "\\uD800", side: 16}}'
        command = ["load", "--server", service.address, "--rate", "10", "--duration", "0.5", "--mix", mix, "--json"]
        result = await asyncio.to_thread(CliRunner().invoke, cli, command)
    assert result.exit_code == 1
    assert "failed in this program" in result.stderr
    assert [error["calls"] for error in json.loads(result.stdout)["errors"]] == [5]


async def test_ctrl_c_ends_the_load_with_what_it_has(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    async with running(tmp_path) as service:
        arguments = ["--server", service.address, "--duration", "600", "--mix", f"{{paints: {QUICK}}}", "--json"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "styleserve", "load", *arguments), stdout=subprocess.PIPE, env=environment
        )
        await until_a_job_came(service)
        process.send_signal(signal.SIGINT)
        output, _ = await process.communicate()
    figures = json.loads(output)
    assert process.returncode == 0
    assert figures["was_interrupted"]
    assert figures["kinds"]["paints"]["calls"] > 0


async def test_people_get_a_table_with_a_header(tmp_path):
    async with running(tmp_path) as service:
        command = ["load", "--server", service.address, "--duration", "0.5", "--mix", f"{{paints: {QUICK}}}"]
        result = await asyncio.to_thread(CliRunner().invoke, cli, command)
    header, row, *_ = (line.split("\t") for line in result.stdout.splitlines())
    assert header[:2] == ["kind", "calls"]
    assert header[-5:] == ["p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"]
    assert row[0] == "paints"
    assert len(row) == len(header)


def test_a_mix_comes_from_a_file_or_from_the_command_line(tmp_path):
    (tmp_path / "mix.yaml").write_text("reads: {do: read, weight: 3}\npaints:\n  side: 32\n  optimizer: lbfgs\n")
    wanted = (Kind("reads", do="read", weight=3), Kind("paints", side=32, optimizer="lbfgs"))
    assert read_mix(str(tmp_path / "mix.yaml")) == wanted
    assert read_mix("{reads: {do: read, weight: 3}, paints: {side: 32, optimizer: lbfgs}}") == wanted


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ("{}", "got no kind of request"),
        ("{a: {weight: 0}}", "got no kind of request"),
        ("{a: 3}", "a: got 3; allowed: a mapping"),
        ("{a: {sides: 3}}", "unknown key 'sides'"),
        ("{a: {do: shout}}", "do: got 'shout'; allowed: paint, watch, cancel, leave, read"),
        ("{a: {side: 1.5}}", "side: got 1.5; allowed: a whole number from 16 to 4096"),
        ("{a: {side: 8}}", "side: got 8; allowed"),
        ("{a: {weight: .nan}}", "weight: got nan; allowed: a number from 0"),
        ("{a: {weight: true}}", "weight: got True; allowed"),
        ("{a: {preset: best}}", "preset: got 'best'; allowed: classic"),
        ("{a: {style: 3}}", "style: got 3; allowed: a style's name"),
        ("{a: {}", "mix: line 1"),
        ("nowhere.yaml", "nowhere.yaml: No such file"),
    ],
)
def test_what_is_wrong_with_a_mix_is_said_in_a_sentence(mix, message):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        read_mix(mix)
    result = CliRunner().invoke(cli, ["load", "--mix", mix])
    assert result.exit_code == 1
    assert message in result.output


def test_percentiles_are_latencies_that_happened():
    told = percentiles([number / 1000 for number in range(1000, 0, -1)])
    assert told == {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    assert set(percentiles([0.2]).values()) == {0.2}
    assert set(percentiles([]).values()) == {None}


def test_what_a_caller_waits_for_on_purpose_is_no_latency_of_the_servers():
    kind = Kind("cancelled", do="cancel", after_s=2.0)
    tally = Tally.of([kind])
    tally.note(kind, Outcome(paused_s=2.0), 2.25, ended_s=4.0)
    assert tally.kinds["cancelled"].latencies_s == [0.25]
