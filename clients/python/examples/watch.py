"""Start a job, leave it, and come back: its progress, its previews and its picture, wherever one comes in."""

import argparse
from pathlib import Path

from styleserve_client import Client, JobChanged, Previewed, Previews, Progressed, ResultReady, raise_for


def main() -> None:
    """Keep the last preview and the painting in the working folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--style", default="waves")
    parser.add_argument("--server", default="127.0.0.1:50051")
    arguments = parser.parse_args()
    with Client(arguments.server) as client:
        job = client.submit(arguments.photo, arguments.style, preset="draft", max_side=256)
        print("started", job.name)
    with Client(arguments.server) as client:
        for event in client.attach(job.name, previews=Previews(max_side=128, interval_s=0.5)):
            match event:
                case JobChanged(job=job):
                    raise_for(job)
                case Progressed(progress=progress) if progress.HasField("losses"):
                    print(f"{progress.iteration}/{progress.total_iterations} loss {progress.losses.total:.4g}")
                case Previewed(data=jpeg):
                    Path("preview.jpg").write_bytes(jpeg)
                case ResultReady(picture=picture):
                    print("painted", picture.save("painting.png"))


if __name__ == "__main__":
    main()
