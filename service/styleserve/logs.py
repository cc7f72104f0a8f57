"""Logs: their form, for people or as lines of JSON; called once by each process that has something to say.

A line about a job carries the job, its trace and its caller as `extra`; one from within a call the call's trace.

TensorFlow, gRPC and a Python that fails write to standard error in forms of their own. Where JSON is asked for, a
process that runs this file stands between, so that the last words of one that dies are not lost.
"""

import atexit
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextvars import ContextVar

#: The trace of the call that the present task answers, as observers tell it; a variable of the task alone.
call_trace: ContextVar[str] = ContextVar("call_trace", default="")

#: What a line may carry beside its message, as far as it is known.
_FIELDS = ("job", "caller", "trace")
_TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: The line after which nothing more is to be translated.
_END = b"\0\n"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, job, caller and trace if any, the traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        known = {"trace": trace_id(call_trace.get())} | vars(record)
        line |= {name: known[name] for name in _FIELDS if known.get(name)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def trace_id(trace: str) -> str:
    """The ID in a trace that begins with a W3C traceparent, 32 hex digits; empty when there is none."""
    return trace.split("-")[1] if trace else ""


def job_fields(job_id: str, caller: str, trace: str) -> dict[str, str]:
    """What every line about a job carries; `trace` is the one that it belongs to, as observers tell it, or empty."""
    return {"job": job_id, "caller": caller, "trace": trace_id(trace)}


def configure(log_format: str) -> None:
    """Log to standard error from INFO on, as `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(_TEXT_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("pooch").setLevel(logging.WARNING)  # it writes lines of its own form


def translate_standard_error() -> None:
    """Make an object of every line that this process and those it starts write to standard error, whoever wrote it."""
    true_error = os.dup(2)
    reading, writing = os.pipe()
    # In a group of its own it gets no Ctrl-C: it ends when nobody can write any more, or when this process says so.
    command = [sys.executable, "-I", "-S", __file__]
    translator = subprocess.Popen(command, stdin=reading, stdout=true_error, process_group=0)
    os.dup2(writing, 2)
    os.close(reading)
    os.close(writing)
    atexit.register(_end_translation, translator, true_error)


def _end_translation(translator: "subprocess.Popen[bytes]", true_error: int) -> None:
    """Wait until all lines are written, as whoever waits for this process's end wants to read them."""
    with contextlib.suppress(OSError):
        os.write(2, b"\n" + _END)
    os.dup2(true_error, 2)
    translator.wait()


def _translate() -> None:
    """Write what comes in line by line: objects as they are, anything else as the message of one."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        if line == _END:
            return
        if text := line.decode(errors="backslashreplace").rstrip():
            sys.stdout.buffer.write((text if _is_object(text) else _object(text)).encode() + b"\n")
            sys.stdout.buffer.flush()


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _object(text: str) -> str:
    return JsonFormatter().format(logging.LogRecord("stderr", logging.WARNING, "", 0, text, None, None))


if __name__ == "__main__":
    _translate()
