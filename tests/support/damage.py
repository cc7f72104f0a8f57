"""Checkpoints that came to harm: by name, by chance, and with sums that are right."""

import io
import json
import random
import zipfile

import numpy as np

from styleserve.engine.checkpoints import FORMAT

CANVAS = np.random.default_rng(0).random((4, 5, 3)).astype(np.float32)


def rewrite(data: bytes, other_facts=None, compression=zipfile.ZIP_STORED, **arrays) -> bytes:
    """The file with other facts or arrays, and sums that are right; None leaves one out."""
    with np.load(io.BytesIO(data)) as archive:
        kept = {name: archive[name] for name in archive.files}
    known = json.loads(kept["facts"].tobytes()) | (other_facts or {})
    known = {name: value for name, value in known.items() if value is not None}
    members = kept | {"facts": np.frombuffer(json.dumps(known).encode(), np.uint8)} | arrays
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, array in members.items():
            if isinstance(array, np.ndarray):
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array)
            elif array is not None:
                archive.writestr(f"{name}.npy", array)
    return file.getvalue()


def facts(**changes):
    return lambda data: rewrite(data, changes)


def arrays(**changes):
    return lambda data: rewrite(data, **changes)


def header_of(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


#: What makes a file of no use, whatever job it is for.
DAMAGES = {
    "emptied": lambda data: b"",
    "cut short": lambda data: data[:-1],
    "cut in half": lambda data: data[: len(data) // 2],
    "cut at its head": lambda data: data[100:],
    "a bit turned over": lambda data: data[: (half := len(data) // 2)] + bytes([data[half] ^ 1]) + data[half + 1 :],
    "random bytes": lambda data: random.Random(2).randbytes(len(data)),
    "text": lambda data: b"once upon a time",
    "a pickle": lambda data: arrays(canvas=np.array([{}], object))(data),
    "compressed": lambda data: rewrite(data, compression=zipfile.ZIP_DEFLATED),
    "no facts": arrays(facts=None),
    "facts that are no JSON": arrays(facts=np.frombuffer(b"{", np.uint8)),
    "facts that are a list": arrays(facts=np.frombuffer(b"[1]", np.uint8)),
    "facts without an end": arrays(facts=np.frombuffer(b"[" * 500_000, np.uint8)),
    "too many facts": facts(padding="x" * 2**21),
    "another format": facts(format=FORMAT + 1),
    "no format": facts(format=None),
    "no identity": facts(identity=None),
    "no scales": facts(scales=[]),
    "scales of text": facts(scales=["abc", "def"]),
    "scales of two numbers": facts(scales=[[2, 3], [4, 5]]),
    "a scale index beyond": facts(scale_index=2),
    "a scale index before": facts(scale_index=-1),
    "half a scale index": facts(scale_index=0.5),
    "a scale of another shape": facts(scale_index=0),
    "a truth for a number": facts(network_passes=True),
    "a text for a number": facts(earlier_evaluations="8"),
    "a huge number": facts(iterations=10**30),
    "a time that is no number": facts(elapsed_s=float("nan")),
    "a time before all time": facts(scale_elapsed_s=-1.0),
    "an infinite loss": facts(losses=[float("inf"), 0, 0, 0]),
    "three losses": facts(losses=[1, 1, 0]),
    "a number of a run that is none": facts(numbers={"moves": None}),
    "numbers that are none": facts(numbers=[1, 2]),
    "float64": arrays(canvas=CANVAS.astype(np.float64)),
    "another shape": arrays(canvas=CANVAS[1:].copy()),
    "another layout": arrays(canvas=np.asfortranarray(CANVAS)),
    "an array that is none": arrays(canvas=b"not an array"),
    "an array with a tail": arrays(canvas=header_of("(4, 5, 3)") + CANVAS.tobytes() + b"tail"),
    "a huge shape": arrays(canvas=header_of("(1000000000, 1000000000, 3)")),
    "a huge canvas": lambda data: rewrite(
        data, {"scales": [[2, 3, 7], [10**6, 10**6, 9]]}, canvas=header_of("(1000000, 1000000, 3)")
    ),
}


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes with bits turned over, or a piece cut out, doubled or made of others."""
    changed = bytearray(data)
    start = chance.randrange(len(data))
    end = min(len(data), start + chance.choice([1, 8, 100]))
    match chance.randrange(4):
        case 0:
            for _ in range(chance.choice([1, 2, 30])):
                changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 1:
            del changed[start:end]
        case 2:
            changed[start:start] = changed[start:end]
        case 3:
            changed[start:end] = chance.randbytes(end - start)
    return bytes(changed)
