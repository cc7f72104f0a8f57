"""The processor: its abilities, as Linux names them."""

from pathlib import Path


def flags(root: Path = Path("/")) -> frozenset[str]:
    """Abilities of the first processor, empty where the system does not tell them as Linux does.

    `root` is where `proc` is.
    """
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = (line.partition(":")[2].split() for line in lines if line.startswith("flags"))
    return frozenset(next(found, []))
