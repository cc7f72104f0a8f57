"""Workers: an engine in a thread and in a spawned process behave alike, and a lost process is told."""

import contextlib
import dataclasses
import functools
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

import numpy as np
import pytest

from styleserve.engine.specification import Cancel, JobSpecification
from styleserve.errors import WeightsError
from styleserve.events import Cancelled, EngineEvent, Finished, Lost, Progressed, Ready, Started
from styleserve.presets import resolve
from styleserve.recipes import RecipeChanges
from styleserve.workers import Worker, process
from styleserve.workers.process import ProcessWorker as PlainProcessWorker
from styleserve.workers.thread import ThreadWorker
from support.toy import TOY_INFO, ToyEngineFactory, plain_image, plain_style

ProcessWorker = functools.partial(PlainProcessWorker, initialize=logging.basicConfig)
SLOWLY = functools.partial(time.sleep, 0.02)
#: What is shown here is how processes start and end, and not what they compute.
SLOW_ENGINE = ToyEngineFactory(SLOWLY, has_adam=False)


def fail_to_build(report):
    raise RuntimeError("no engine today")


def fail_for_the_operator(report):
    raise WeightsError("the weights are not to be had")


def job(iterations: int, job_id: str = "a", optimizer: str = "lbfgsb") -> JobSpecification:
    recipe = resolve(RecipeChanges(), RecipeChanges(preset="classic", optimizer=optimizer, iterations=iterations))
    canvas = np.random.default_rng(0).random((24, 24, 3)).astype(np.float32)
    return JobSpecification(job_id, canvas, (plain_style(0.6),), recipe)


@contextlib.contextmanager
def few_handles(are_few: bool) -> Iterator[None]:
    """While this lasts no file or pipe can be opened, if so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 if are_few else soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Slow(Cancel):
    """A command that takes a while until it is written down for the engine's process."""

    is_being_written = threading.Event()

    def __reduce__(self):
        self.is_being_written.set()
        time.sleep(0.5)
        return Cancel, (self.job_id,)


def fail(*_):
    raise MemoryError("as when there is too little memory for it")


class Unsendable(Cancel):
    """A command that cannot be written down for the engine's process."""

    __reduce__ = fail


class Unreceivable(Cancel):
    """A command that the engine's process cannot read."""

    def __reduce__(self):
        return fail, ()


def tell_of_unreceivable(report):
    engine, info = ToyEngineFactory(SLOWLY)(report)
    report(Unreceivable("a"))
    return engine, info


class Listening:
    """A worker that was started, and the events it told."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.events: SimpleQueue[EngineEvent] = SimpleQueue()
        worker.start(self.events.put)

    def until(self, kind: type[EngineEvent]) -> EngineEvent:
        while not isinstance(event := self.events.get(timeout=20), kind):
            pass
        return event


@pytest.fixture(params=[ThreadWorker, ProcessWorker])
def worker(request):
    worker = request.param(SLOW_ENGINE)
    yield worker
    worker.stop()


def test_a_worker_says_what_it_runs_on_and_makes_pictures(worker):
    listening = Listening(worker)
    assert listening.until(Ready) == Ready(TOY_INFO)
    worker.send(job(iterations=30))
    assert listening.until(Started) == Started("a")
    finished = listening.until(Finished)
    np.testing.assert_allclose(finished.pixels, 0.6, atol=1e-2)


def test_a_cancelled_job_is_not_computed_any_further(worker):
    listening = Listening(worker)
    worker.send(job(iterations=5000, optimizer="adam"))
    listening.until(Progressed)
    worker.send(Cancel("a"))
    cancelled = listening.until(Cancelled)
    assert cancelled.network_passes < 50


def test_a_stopped_worker_can_be_started_again(worker):
    Listening(worker).until(Ready)
    worker.stop()
    listening = Listening(worker)
    worker.send(job(iterations=1))
    listening.until(Finished)


@pytest.mark.parametrize("kind", [ThreadWorker, ProcessWorker])
def test_an_engine_that_cannot_be_built_is_lost(kind, capfd):
    worker = kind(fail_to_build)
    assert isinstance(Listening(worker).until(Lost), Lost)
    worker.stop()


@pytest.mark.parametrize("kind", [ThreadWorker, ProcessWorker])
def test_what_the_operator_must_mend_reaches_the_owner(kind):
    worker = kind(fail_for_the_operator)
    lost = Listening(worker).until(Lost)
    assert isinstance(lost.error, WeightsError)
    assert str(lost.error) == "the weights are not to be had"
    worker.stop()


def test_a_killed_engine_is_lost_and_can_be_replaced():
    worker = ProcessWorker(SLOW_ENGINE)
    listening = Listening(worker)
    worker.send(job(iterations=5000, optimizer="adam"))
    listening.until(Started)
    os.kill(worker.pid, signal.SIGKILL)
    assert "-9" in listening.until(Lost).description
    again = Listening(worker)
    worker.send(job(iterations=1))
    again.until(Finished)
    worker.stop()


def test_a_command_that_is_on_its_way_when_the_engine_is_killed_goes_with_it():
    worker = ProcessWorker(SLOW_ENGINE)
    listening = Listening(worker)
    listening.until(Ready)
    command = Slow("a")
    worker.send(command)
    assert command.is_being_written.wait(timeout=20)
    worker.kill()
    assert "-9" in listening.until(Lost).description
    worker.stop()


@pytest.mark.parametrize("command", [Unsendable("a"), Unreceivable("a")], ids=["writes it", "reads it"])
def test_an_engine_that_a_command_does_not_reach_as_a_thread_failed_that_passes_it_on_is_lost(command, capfd, caplog):
    worker = ProcessWorker(ToyEngineFactory(SLOWLY))
    listening = Listening(worker)
    listening.until(Ready)
    worker.send(command)
    listening.until(Lost)
    worker.stop()
    assert "too little memory" in caplog.text + capfd.readouterr().err


def test_an_engine_of_which_an_event_cannot_be_read_is_lost(caplog):
    worker = ProcessWorker(tell_of_unreceivable)
    Listening(worker).until(Lost)
    worker.stop()
    assert "too little memory" in caplog.text


@pytest.mark.parametrize("scarce", ["handles", "the thread that writes", "the thread that reads"])
def test_an_engine_for_which_the_machine_has_nothing_left_is_lost_and_a_later_one_lives(scarce, monkeypatch):
    worker = ProcessWorker(SLOW_ENGINE)
    other_threads, other_children = set(threading.enumerate()), set(multiprocessing.active_children())
    threads_left = ["the thread that writes", "the thread that reads", "handles"].index(scarce)

    class ScarceThread(threading.Thread):
        def start(self) -> None:
            nonlocal threads_left
            if threads_left == 0:
                raise RuntimeError("can't start new thread")
            threads_left -= 1
            super().start()

    with monkeypatch.context() as patch:
        patch.setattr("styleserve.workers.process.threading.Thread", ScarceThread)
        with few_handles(scarce == "handles"):
            lost = Listening(worker).until(Lost)
    assert "cannot be started" in lost.description
    for child in set(multiprocessing.active_children()) - other_children:
        child.join(20)
        assert not child.is_alive(), "nothing is left of the attempt"
    assert set(threading.enumerate()) <= other_threads
    Listening(worker).until(Ready)
    worker.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="stops a process")
def test_a_large_command_does_not_block_the_sender_though_the_engine_reads_nothing():
    worker = ProcessWorker(SLOW_ENGINE)
    Listening(worker).until(Ready)
    os.kill(worker.pid, signal.SIGSTOP)
    command = dataclasses.replace(job(iterations=1), content=plain_image(0.1, 1024, 1024))
    sending = threading.Thread(target=worker.send, args=(command,), daemon=True)
    sending.start()
    sending.join(10)
    is_blocked = sending.is_alive()
    worker.kill()
    worker.stop()
    assert not is_blocked


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_process_is_left_behind():
    worker = ProcessWorker(SLOW_ENGINE)
    Listening(worker).until(Ready)
    pid = worker.pid
    worker.stop()
    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.skipif(sys.platform != "linux", reason="stops a process")
def test_a_process_that_cannot_be_killed_is_left_behind(monkeypatch, caplog):
    monkeypatch.setattr(process, "STOP_TIMEOUT_S", 0.2)
    monkeypatch.setattr(process, "KILL_TIMEOUT_S", 0.2)
    worker = ProcessWorker(SLOW_ENGINE)
    Listening(worker).until(Ready)
    pid = worker.pid
    os.kill(pid, signal.SIGSTOP)
    stopping = threading.Thread(target=worker.stop, daemon=True)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("multiprocessing.process.BaseProcess.kill", lambda self: None)
            stopping.start()
            stopping.join(20)
            assert not stopping.is_alive()
    finally:
        os.kill(pid, signal.SIGKILL)
    assert f"{pid} was killed and does not end" in caplog.text


#: A program with an engine that nothing can end, as when a device holds it; it prints the engine's process, and ends.
LEAVING_BEHIND = """
import functools, logging, multiprocessing.process, os, signal, time
from queue import SimpleQueue
from styleserve.events import Ready
from styleserve.workers import process
from support.toy import ToyEngineFactory

if __name__ == "__main__":
    process.STOP_TIMEOUT_S = process.KILL_TIMEOUT_S = 0.2
    kill = multiprocessing.process.BaseProcess.kill
    multiprocessing.process.BaseProcess.kill = multiprocessing.process.BaseProcess.terminate = lambda self: None
    slowly, events = functools.partial(time.sleep, 0.02), SimpleQueue()
    worker = process.ProcessWorker(ToyEngineFactory(slowly, has_adam=False), logging.basicConfig)
    worker.start(events.put)
    while not isinstance(events.get(timeout=20), Ready):
        pass
    print(worker.pid, flush=True)
    os.kill(worker.pid, signal.SIGSTOP)
    if {has_another}:
        multiprocessing.process.BaseProcess.kill = kill
        worker.start(events.put)
    worker.stop()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="stops a process")
@pytest.mark.parametrize("has_another", [False, True], ids=["its only one", "one before the last"])
def test_a_program_ends_though_an_engine_cannot_be_killed(tmp_path, has_another):
    script = tmp_path / "leaving.py"
    script.write_text(LEAVING_BEHIND.format(has_another=has_another))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    program = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True)
    left_behind = int(program.stdout.readline())
    try:
        assert program.wait(timeout=20) == 0
    finally:
        program.kill()
        os.kill(left_behind, signal.SIGKILL)
        program.communicate()


def test_what_a_killed_process_left_the_next_one_goes_on_from(tmp_path):
    worker = ProcessWorker(dataclasses.replace(SLOW_ENGINE, checkpoints_dir=tmp_path, checkpoint_s=0.0))
    listening = Listening(worker)
    worker.send(job(iterations=1000, optimizer="adam"))
    while (reached := listening.until(Progressed).progress.iteration) < 60:
        pass
    os.kill(worker.pid, signal.SIGKILL)
    listening.until(Lost)
    again = Listening(worker)
    worker.send(job(iterations=1000, optimizer="adam"))
    first = again.until(Progressed)
    worker.stop()
    # How often it was written down depends on the disk: it had one hundredth of the time.
    assert 0 < first.progress.iteration <= reached + 2
    assert first.progress.evaluations == first.progress.iteration + 1
