"""The command line's door: `styleserve` and `python -m styleserve`."""

import importlib.util
import os
import sys

from styleserve import memory, processor


def main() -> None:
    """Run the command line; where the client alone is installed, say what is missing."""
    if importlib.util.find_spec("click") is None:
        sys.exit("the command line needs the server's packages; in a clone: pip install '.[cpu]', or '.[gpu]'")
    set_environment()
    memory.keep_heaps_small(os.environ)
    try:
        from styleserve.cli.main import cli

        cli(prog_name="styleserve")
    except KeyboardInterrupt:  # while the packages are imported; from then on click takes care of it
        sys.exit("Aborted!")


def set_environment() -> None:
    """Set what native code reads when it begins, here and in the engine's process; before anything else.

    Its chatter, whose lines have a form of their own, is kept out of our log: what grpc has to say comes to us as
    errors too; of TensorFlow warnings and errors are left. NumPy's products have one thread: the others would go on
    spinning for a while, in the way of TensorFlow's.

    TensorFlow's allocator counts what it hands out, by which memory is predicted, where oneDNN is on, which TensorFlow
    decides by the processor; elsewhere it has to be asked to.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not processor.has_onednn():
        os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")


if __name__ == "__main__":
    main()
