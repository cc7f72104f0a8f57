"""The same targets under atheris, which goes where inputs reach new lines; it is no dependency: pip install atheris."""

import logging
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["styleserve"]):
    from fuzz.child import seeds_of
    from fuzz.targets import TARGETS


def fuzz(target: str, num_inputs: int) -> None:
    """Never returns: atheris ends the process, with a file of the input when there was a finding."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds_of(target)):
        (corpus / str(number)).write_bytes(seed)
    (folder / "work").mkdir()
    arguments = [str(corpus), f"-runs={num_inputs}", "-rss_limit_mb=4096", "-timeout=30", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[target](folder / "work"))
    atheris.Fuzz()
