"""The processor: its abilities, as Linux names them."""

from pathlib import Path

#: On a processor with one of them TensorFlow computes by oneDNN without being told to.
_ONEDNN_FLAGS = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}


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


def has_onednn() -> bool:
    """Whether TensorFlow computes by oneDNN here of itself."""
    return not flags().isdisjoint(_ONEDNN_FLAGS)
