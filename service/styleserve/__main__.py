"""The command line's door: `styleserve` and `python -m styleserve`."""

from styleserve.cli.main import cli


def main() -> None:
    """Run the command line."""
    cli(prog_name="styleserve")


if __name__ == "__main__":
    main()
