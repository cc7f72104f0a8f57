"""The command line's door: `styleserve` and `python -m styleserve`."""

import importlib.util
import sys


def main() -> None:
    """Run the command line; where the client alone is installed, say what is missing."""
    if importlib.util.find_spec("click") is None:
        sys.exit("the command line needs the server's packages: pip install 'styleserve[cpu]', or [gpu]")
    from styleserve.cli.main import cli

    cli(prog_name="styleserve")


if __name__ == "__main__":
    main()
