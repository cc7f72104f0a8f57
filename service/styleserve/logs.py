"""Logs: their form, for people or as lines of JSON; called once by each process that has something to say.

A line about a job carries the job, its trace and its caller as `extra`; one from within a call the call's trace.
"""

import json
import logging
import sys
import time
from contextvars import ContextVar

#: The W3C traceparent of the call that the present task answers; a variable of the task, not of the process.
call_trace: ContextVar[str] = ContextVar("call_trace", default="")

#: What a line may carry beside its message, as far as it is known.
_FIELDS = ("job", "caller", "trace")
_TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


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


def trace_id(traceparent: str) -> str:
    """The ID of the trace in a W3C traceparent, 32 hex digits; empty when there is none."""
    return traceparent.split("-")[1] if traceparent else ""


def configure(log_format: str) -> None:
    """Log to standard error from INFO on, as `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(_TEXT_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("pooch").setLevel(logging.WARNING)  # it writes lines of its own form
