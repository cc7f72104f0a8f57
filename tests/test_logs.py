"""The log as JSON: whatever a line is about can be found by its fields."""

import io
import itertools
import json
import logging
import signal
import subprocess
import sys

import pytest

from styleserve import logs
from styleserve.rpc.access import Access
from styleserve.v1 import job_pb2, style_transfer_pb2
from styleserve.workers.thread import ThreadWorker
from support.gate import Gate
from support.service import request, running
from support.toy import ToyEngineFactory

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)


@pytest.fixture
def lines():
    """What is logged, read as JSON."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logs.JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in text.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(level)


def record(**fields) -> logging.LogRecord:
    made = logging.LogRecord("styleserve.jobs", logging.INFO, __file__, 1, "%s\nadmitted", ("a",), None)
    vars(made).update(fields)
    return made


def test_a_line_is_one_object_with_what_is_known_and_no_more():
    line = logs.JsonFormatter().format(record(job="a", caller="alice", trace=""))
    assert "\n" not in line
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "INFO",
        "logger": "styleserve.jobs",
        "message": "a\nadmitted",
        "job": "a",
        "caller": "alice",
    }


def test_a_fault_brings_its_traceback():
    try:
        raise RuntimeError("no disk")
    except RuntimeError:
        failed = record(exc_info=sys.exc_info())
    assert "RuntimeError: no disk" in json.loads(logs.JsonFormatter().format(failed))["traceback"]


def test_whatever_is_written_to_standard_error_comes_out_as_objects_also_the_last_words_of_one_that_dies():
    code = (
        "import logging, os; from styleserve import logs; logs.translate_standard_error(); logs.configure('json');"
        "logging.info('our own'); os.system('echo of a child >&2'); logging.info('ours, {again}');"
        "os.write(2, b'{\\n\\nno object\\xff\\nlast words'); os.abort()"
    )
    died = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=False)
    assert died.returncode == -signal.SIGABRT
    told = [json.loads(line) for line in died.stderr.splitlines()]
    assert [line["message"] for line in told] == [
        *("our own", "of a child", "ours, {again}", "{", "no object\\xff", "last words")
    ]
    assert [line["logger"] for line in told] == ["root", "stderr", "root", "stderr", "stderr", "stderr"]


def test_who_waits_for_the_end_finds_every_line_also_why_it_failed(tmp_path):
    code = (
        "from styleserve import logs; logs.translate_standard_error(); logs.configure('json');"
        "print('x' * 100_000, file=__import__('sys').stderr); raise RuntimeError('no disk')"
    )
    with (tmp_path / "log").open("w") as log:
        assert subprocess.run([sys.executable, "-c", code], stderr=log, check=False).returncode == 1
    told = [json.loads(line)["message"] for line in (tmp_path / "log").read_text().splitlines()]
    assert len(told[0]) == 100_000
    assert told[-1] == "RuntimeError: no disk"


async def test_every_line_about_a_job_has_the_job_and_its_trace(tmp_path, lines):
    gate = Gate()
    gate.shut()
    async with running(tmp_path, gate, max_running=1) as service:
        first = (await service.transfer.Stylize(request(detached=True, job_id="first"), metadata=CALLER)).job.name
        second = (await service.transfer.Stylize(request(1, detached=True, job_id="second"))).job.name
        # The engine tells of the end of the first, and the second leaves the queue, when no call's trace is at hand.
        await gate.until_reached()
        await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=first), metadata=CALLER)
        gate.opened.set()
        await service.wait_for(second, job_pb2.JOB_STATE_SUCCEEDED)
    told = {(line["message"], line.get("trace")) for line in lines() if line.get("job") in ("first", "second")}
    assert {("first admitted", TRACE), ("first cancelled", TRACE), ("second admitted", None)} <= told
    assert ("second succeeded", None) in told
    assert all("job" in line for line in lines() if "first" in line["message"] or "second" in line["message"])


async def test_a_fault_within_a_call_has_the_calls_trace(tmp_path, lines, monkeypatch):
    async with running(tmp_path) as service:
        monkeypatch.setattr(service.server._jobs, "find", lambda name: 1 / 0)
        with pytest.raises(Exception, match="fault is ours"):
            await service.transfer.GetJob(style_transfer_pb2.GetJobRequest(name="jobs/x"), metadata=CALLER)
    (fault,) = (line for line in lines() if "incident" in line["message"])
    assert (fault["caller"], fault["trace"]) == ("anonymous", TRACE)


async def test_a_fault_before_it_is_known_who_calls_is_told_without_a_caller(tmp_path, lines, monkeypatch):
    async with running(tmp_path) as service:
        monkeypatch.setattr(Access, "admit", lambda *_: 1 / 0)
        with pytest.raises(Exception, match="fault is ours"):
            await service.transfer.GetJob(style_transfer_pb2.GetJobRequest(name="jobs/x"), metadata=CALLER)
    (fault,) = (line for line in lines() if "incident" in line["message"])
    assert "caller" not in fault


async def test_what_the_engine_has_to_say_of_a_job_has_its_caller_and_its_trace(tmp_path, lines):
    """The folder of checkpoints cannot be made, and a step fails after some."""
    steps = itertools.count()
    (tmp_path / "in the way").write_text("a file")

    def fail_at_last() -> None:
        if next(steps) == 20:
            raise RuntimeError("no device")

    factory = ToyEngineFactory(fail_at_last, checkpoints_dir=tmp_path / "in the way" / "checkpoints", checkpoint_s=0.0)
    async with running(tmp_path, worker=ThreadWorker(factory)) as service:
        with pytest.raises(Exception, match="fault is ours"):
            await service.transfer.Stylize(request(50, job_id="broken"), metadata=CALLER)
    told = [line for line in lines() if line["logger"].startswith("styleserve.engine.") and "job" in line]
    wanted = ("broken", "anonymous", TRACE)
    assert [(line["job"], line["caller"], line["trace"]) for line in told] == [wanted] * 3
    for words in ("cannot be used", "cannot be kept", "a step failed"):
        assert any(words in line["message"] for line in told)
