"""The same targets under atheris, which goes where inputs reach new lines; it is no dependency: pip install atheris.

PYTHONPATH=tests python -m fuzz.with_atheris images 20000
"""

import logging
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

# Before anything else imports the service, which is watched from its import on.
with atheris.instrument_imports(include=["styleserve"]):
    from fuzz.seeds import SEEDS
    from fuzz.targets import TARGETS


def main(target: str, num_inputs: int) -> None:
    """Never returns: atheris ends the process, with a file of the input when there was a finding."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    folders = {name: Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-")) for name in ("seeds", "corpus", "work")}
    for number, seed in enumerate(SEEDS[target](folders["seeds"])):
        (folders["corpus"] / str(number)).write_bytes(seed)
    options = [f"-runs={num_inputs}", "-rss_limit_mb=4096", "-timeout=30", "-max_len=65536"]
    atheris.Setup([sys.argv[0], str(folders["corpus"]), *options], TARGETS[target](folders["work"]))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
