"""What an error may say: our own sentences to callers; files and keys besides to operators; nothing of the insides."""

import re
from collections.abc import Iterator

from google.protobuf import text_format
from google.rpc import error_details_pb2

from styleserve.errors import ConfigurationError, RequestError
from styleserve.rpc.status import to_message, to_status

#: Traces of tracebacks, objects and libraries, which nobody is told.
INSIDES = re.compile(
    r"Traceback|File \"|object at 0x|site-packages|\.py\b|\b\w*(?:Error|Exception|Warning)\b(?!s)"
    r"|\b(?:PIL|h5py|numpy|zipfile|yaml|cattrs|google|grpc|sqlite3|binascii|styleserve)\.\w"
)
#: Traces of the system, which callers are not told either.
SYSTEM = re.compile(
    r"Errno|/tmp/|/dev/|/home/|No such file|Permission denied|\bsqlite|\bmalformed\b|codec can't|embedded null"
)
_LONGEST = 20_000
_MOST_METADATA_BYTES = 4096


def check_for_caller(error: RequestError) -> None:
    """Raise AssertionError unless the error, whole and as a status, is fit for a caller."""
    status = to_status(error)
    for text in (str(error)[:_LONGEST], status.details, *_details(error)):
        _check(text, INSIDES, SYSTEM)
    assert sum(len(key) + len(value) for key, value in status.trailing_metadata) < _MOST_METADATA_BYTES


def _details(error: RequestError) -> Iterator[str]:
    """The texts of the error's details, in which a resource has the contract's name for its type."""
    for packed in to_message(error).details:
        message = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])()
        assert packed.Unpack(message)
        yield text_format.MessageToString(message, as_utf8=True).replace("styleserve.v1.", "")


def check_for_operator(error: ConfigurationError) -> None:
    """The same for an operator, who may be told files and the system's words for what is wrong with them."""
    check_text_for_operator(str(error))


def check_text_for_operator(text: str) -> None:
    """The same for one problem of many."""
    assert len(text) < _LONGEST, f"a message of {len(text)} characters"
    _check(text, INSIDES)


def _check(text: str, *forbidden: re.Pattern[str]) -> None:
    for pattern in forbidden:
        found = pattern.search(text)
        assert found is None, f"{found[0]!r} in the message {text[:500]!r}"
