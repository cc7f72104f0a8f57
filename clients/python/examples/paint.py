"""Paint one photograph, and say what is wrong in the server's words when something is."""

import argparse
import sys
from pathlib import Path

from styleserve_client import Client, InvalidRequestError, NotFoundError


def main() -> None:
    """Write the painting beside the photograph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--style", default="mosaic")
    parser.add_argument("--server", default="127.0.0.1:50051")
    arguments = parser.parse_args()
    with Client(arguments.server) as client:
        try:
            picture = client.stylize(arguments.photo, arguments.style, preset="draft", max_side=256)
        except NotFoundError as error:
            sys.exit(str(error))
        except InvalidRequestError as error:
            sys.exit("\n".join(f"{one.field}: {one.description}" for one in error.violations))
    print(picture.save(arguments.photo.with_name(f"{arguments.photo.stem}-{arguments.style}.png")))


if __name__ == "__main__":
    main()
