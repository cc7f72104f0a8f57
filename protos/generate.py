"""Makes the Python stubs in `service/styleserve/v1` from the contract, or checks that they are fresh.

Runs under the pinned generator (`protos/requirements.txt`), never under the service's own environment:
code made by grpcio-tools 1.76.0 imports under every protobuf that TensorFlow allows, newer code does not.

    python protos/generate.py            # write the stubs
    python protos/generate.py --check    # exit 1 and name what differs
    python protos/generate.py --image F  # write the descriptor set that `buf lint` reads
"""

import argparse
import filecmp
import importlib.util
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
SOURCE_ROOT = PROTOS.parent / "service"
PACKAGE = Path("styleserve") / "v1"


def main() -> int:
    """Parse the arguments and run; the exit status is 0 when all is well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed stubs")
    parser.add_argument("--image", type=Path, help="write a descriptor set with comments and imports")
    arguments = parser.parse_args()
    if arguments.image:
        _run("--include_imports", "--include_source_info", f"--descriptor_set_out={arguments.image}")
        return 0
    if arguments.check:
        return _check()
    _generate(SOURCE_ROOT)
    return 0


def _generate(root: Path) -> None:
    """Write `_pb2.py`, `_pb2.pyi`, `_pb2_grpc.py` and `_pb2_grpc.pyi` of every proto under `root`."""
    _run(
        f"--python_out={root}",
        f"--mypy_out=quiet:{root}",
        f"--grpc_python_out={root}",
        f"--mypy_grpc_out=quiet:{root}",
    )


def _check() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        _generate(Path(scratch))
        fresh = {path.name for path in (Path(scratch) / PACKAGE).iterdir()}
        committed = {path.name for path in (SOURCE_ROOT / PACKAGE).glob("*_pb2*")}
        _, different, missing = filecmp.cmpfiles(
            Path(scratch) / PACKAGE, SOURCE_ROOT / PACKAGE, fresh | committed, shallow=False
        )
    stale = sorted(different + missing)
    if stale:
        print(f"stale stubs in service/{PACKAGE}: {', '.join(stale)}; run `make protos`", file=sys.stderr)
    return 1 if stale else 0


def _run(*options: str) -> None:
    sources = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    includes = [f"-I{root}" for root in (PROTOS, _google_protos(), _protobuf_protos())]
    binaries = Path(sys.executable).parent
    plugins = [f"--plugin={name}={binaries / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    status = protoc.main(["protoc", *includes, *plugins, *options, *sources])
    if status:
        sys.exit(status)


def _google_protos() -> Path:
    """Where googleapis-common-protos keeps `google/api/*.proto`."""
    spec = importlib.util.find_spec("google.api")
    assert spec
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))).parents[1]


def _protobuf_protos() -> Path:
    """Where grpcio-tools keeps `google/protobuf/*.proto`."""
    return Path(protoc.__file__).parent / "_proto"


if __name__ == "__main__":
    sys.exit(main())
