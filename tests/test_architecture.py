"""The laws of the house: dependencies run downwards only, and each library has one door."""

import ast
from collections.abc import Iterator
from pathlib import Path

import styleserve

PACKAGE = Path(styleserve.__file__).parent
CLIENT = PACKAGE.parents[1] / "clients" / "python" / "styleserve_client"

#: From the top down; rooms of one row do not import each other, but for the last row, whose order is its own.
ROWS = (
    ("__main__",),
    ("cli",),
    ("rpc",),
    ("jobs",),
    ("workers",),
    ("engine",),
    ("model", "optimizers"),
    ("catalog",),
    ("observing",),
    ("events",),
    ("evaluation",),
    ("config", "callers"),
    ("documents", "colors", "detail", "decoding"),
    ("presets", "costs"),
    ("recipes",),
    ("images", "download", "sizes"),
    ("image_parts", "followed", "storing"),
    ("errors", "hints", "logs", "files", "addresses", "detached", "digests", "memory", "processor", "version"),
    ("v1",),
)
#: Who may import the contract, and each library that has a door.
CONTRACT = {"rpc", "cli"}
DOORS = {
    "tensorflow": {"model", "optimizers"},
    "h5py": {"model"},
    "safetensors": {"model"},
    "scipy": {"optimizers"},
    "PIL": {"images"},
    "pooch": {"download"},
    "requests": {"download"},
    "yaml": {"documents"},
    "watchfiles": {"catalog"},
    "grpc": {"rpc", "cli"},
    "google": {"rpc", "cli"},
    "click": {"cli", "__main__"},
    "rich": {"cli"},
    "prometheus_client": {"observing"},
    "opentelemetry": {"observing"},
    "matplotlib": {"cli"},
    "styleserve_client": {"cli"},
}


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports, wherever in it, as a dotted name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def edges() -> Iterator[tuple[str, str]]:
    """Pairs of a room and what it imports, with the importing file's own room left out."""
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] not in ("v1", "__init__"):
            yield from ((parts[0], name) for name in imports(path))


def test_dependencies_run_downwards_only():
    height = {room: -row for row, rooms in enumerate(ROWS) for room in rooms}
    wrong = set()
    for room, name in edges():
        if not name.startswith("styleserve."):
            continue
        other = name.split(".")[1]
        if other != room and other in height and height[other] >= height[room]:
            wrong.add((room, other))
    assert not wrong


def test_every_room_has_its_row():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__"} == {room for rooms in ROWS for room in rooms}


def test_the_contract_is_seen_by_its_rooms_only():
    assert {room for room, name in edges() if name.startswith("styleserve.v1")} <= CONTRACT


def test_each_library_has_one_door():
    wrong = {(room, name) for room, name in edges() if room not in DOORS.get(name.split(".")[0], {room})}
    assert not wrong


def test_the_client_sees_the_contract_and_grpc_only():
    allowed = {"grpc", "grpc_status", "google", "PIL", "styleserve_client"}
    for path in CLIENT.rglob("*.py"):
        for name in imports(path):
            top = name.split(".")[0]
            is_standard = top in __import__("sys").stdlib_module_names
            assert is_standard or top in allowed or name.startswith("styleserve.v1"), f"{path.name} imports {name}"


def test_the_environment_is_read_in_one_place_and_set_where_the_program_starts():
    readers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    # The device is set up in the engine's process, by the memory that there is.
    assert readers <= {"config.py", "__main__.py", "model/device.py"}


def test_modules_begin_by_saying_what_they_are_for():
    for root in (PACKAGE, CLIENT):
        for path in root.rglob("*.py"):
            if not path.name.endswith(("_pb2.py", "_pb2_grpc.py")):
                assert ast.get_docstring(ast.parse(path.read_text())), path
