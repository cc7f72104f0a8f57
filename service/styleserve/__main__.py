"""The command line's door: `styleserve` and `python -m styleserve`."""

import importlib.util
import os
import sys


def main() -> None:
    """Run the command line; where the client alone is installed, say what is missing."""
    if importlib.util.find_spec("click") is None:
        sys.exit("the command line needs the server's packages: pip install 'styleserve[cpu]', or [gpu]")
    _quiet()
    try:
        from styleserve.cli.main import cli

        cli(prog_name="styleserve")
    except KeyboardInterrupt:  # while the packages are imported; from then on click takes care of it
        sys.exit("Aborted!")


def _quiet() -> None:
    """Keep the chatter of native code, whose lines have a form of their own, out of our log.

    It is read when the packages are imported, here and in the engine's process. What grpc has to say comes to us as
    errors too; of TensorFlow warnings and errors are left.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")


if __name__ == "__main__":
    main()
