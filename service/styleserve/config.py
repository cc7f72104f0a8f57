"""Config: every setting of the server, in one table, read once; no other module reads the environment.

A value comes from the command line, else from `STYLESERVE_<NAME>` in the environment, else from the YAML file named by
`--config`, else from the default below.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of a server.

    `listen` is `HOST:PORT`, port 0 for any free one. `styles` are folders of styles beside the installed packs,
    `style_images` a folder where style images are found by their SHA-256. `weights` is `auto`, `imagenet`, `untrained`
    or a path; `precision` is `auto`, `float32` or `bfloat16`. `max_queue` jobs may wait, `max_running` run at a time.
    `max_side` is the longest side of a result in pixels, `max_iterations` the most that a job may ask for. Ended jobs
    and their images are kept for `retention_s` seconds; a stopping server gives running jobs `drain_s` seconds.
    """

    listen: str = "127.0.0.1:50051"
    data_dir: Path = Path("~/.local/share/styleserve")
    styles: tuple[Path, ...] = ()
    style_images: Path | None = None
    weights: str = "auto"
    precision: str = "auto"
    max_queue: int = 64
    max_running: int = 4
    max_side: int = 1024
    max_iterations: int = 10_000
    retention_s: float = 86_400.0
    drain_s: float = 30.0
    log_format: str = "text"
