"""Plots: the losses of a job against its iterations."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from styleserve.v1 import job_pb2

PLOT_FORMATS = (".png", ".pdf", ".svg")


def plot_losses(history: Sequence[job_pb2.Progress], path: Path) -> None:
    """Draw the total loss and its terms on a logarithmic scale; a dotted line stands where the canvas grew.

    Of `history` there is one at least, and each has losses.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    iterations = [progress.iteration for progress in history]
    for name in ("total", "style", "content", "total_variation"):
        values = [getattr(progress.losses, name) for progress in history]
        if any(values):
            axis.plot(iterations, [value or math.nan for value in values], label=name.replace("_", " "))
    for before, after in itertools.pairwise(history):
        if (before.width, before.height) != (after.width, after.height):
            axis.axvline(after.iteration, color="grey", linestyle=":", linewidth=1)
            axis.annotate(
                f"{after.width} x {after.height}",
                (after.iteration, 1),
                xycoords=("data", "axes fraction"),
                xytext=(3, -12),
                textcoords="offset points",
                fontsize=8,
                color="grey",
            )
    axis.set(xlabel="iteration", ylabel="weighted loss", yscale="log")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
