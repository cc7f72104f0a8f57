"""What a job will cost: seconds and bytes before it starts, by a model fitted on this machine. Arithmetic only.

An evaluation takes time and memory in proportion to its pixels, beside a fixed part:

    seconds = a + b n,    working bytes = c + d n

n are the pixels of the canvas, or, of one that is judged in tiles, those of a tile: its core and the halo around it. So
a canvas in tiles needs the memory of one tile and the time of all of them, those of the smaller sizes at which style is
compared too. What a job holds between its evaluations (its optimizer's canvases, the content and its features) is
always there in full.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from styleserve.images import MIN_SIDE
from styleserve.recipes import OptimizerName, Recipe, Scale, plan_scales, style_side

#: Bytes of a pixel as float32 RGB.
BYTES_PER_PIXEL = 12
#: Sides of a tile's core, the largest first; below the last, the halos cost many times the core.
TILE_SIDES = (1024, 768, 640, 512, 448, 384, 320, 256, 192, 128)
#: Style images are seen in tiles of this side, whatever their canvas is judged in, so that what is kept of them does
#: not depend on who was first to ask. One, which is seen and not judged, takes no more memory than the smallest tile of
#: a canvas with its gradient.
STYLE_TILE_SIDE = 320
#: Of a job that is written down so much is copied, so that it goes on meanwhile; a larger one waits instead.
MOST_COPIED_BYTES = 32 * 2**20
#: A style's image is there twice while it is resized: as it was decoded, at most as large as it is seen, and as seen.
_STYLE_COPIES = 2
#: A picture of this longest side is the least that an engine has to have room for.
_LEAST_SIDE = 256
#: The share of the budget that a plan may fill: the rest is for what the model does not know.
_SAFE_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Line:
    """y = fixed + per_pixel * pixels."""

    fixed: float
    per_pixel: float

    def at(self, num_pixels: float) -> float:
        """Its value."""
        return self.fixed + self.per_pixel * num_pixels

    def times(self, factor: float) -> "Line":
        """The line of so many times as much."""
        return Line(factor * self.fixed, factor * self.per_pixel)


def fit_line(smaller: tuple[int, float], larger: tuple[int, float]) -> Line:
    """The line through two measurements, (pixels, value), with no negative part: noise must not make a gain of size."""
    (small, low), (large, high) = smaller, larger
    per_pixel = (high - low) / (large - small)
    fixed = low - per_pixel * small
    if per_pixel <= 0 or fixed < 0:
        return Line(0.0, high / large)
    return Line(fixed, per_pixel)


@dataclass(frozen=True, slots=True)
class Canvases:
    """Float32 canvases that are kept: so many `always`, and for each of the last `history` iterations more."""

    always: float
    per_iteration: float = 0.0
    history: int = 0

    def after(self, iterations: int) -> float:
        """How many there are after so many iterations."""
        return self.always + self.per_iteration * min(iterations, self.history)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What a run of an optimizer keeps between its steps, and how often it judges.

    `tiled_canvases` are those of a canvas that is judged in tiles, where they differ. `extra_evaluations` come beside
    one for each iteration. A snapshot has `snapshot_canvases`.
    """

    canvases: Canvases
    tiled_canvases: Canvases | None = None
    extra_evaluations: int = 1
    snapshot_canvases: int = 0

    def bytes(self, num_pixels: int, iterations: int, is_tiled: bool) -> float:
        """Bytes for a canvas of so many pixels and so many iterations at the most."""
        canvases = self.tiled_canvases if is_tiled and self.tiled_canvases is not None else self.canvases
        return BYTES_PER_PIXEL * num_pixels * canvases.after(iterations)

    def copied_bytes(self, num_pixels: int) -> float:
        """Bytes of the copy that is written down; of a snapshot that is too large for one there is none."""
        snapshot_bytes = BYTES_PER_PIXEL * num_pixels * self.snapshot_canvases
        return snapshot_bytes if snapshot_bytes <= MOST_COPIED_BYTES else 0.0


@dataclass(frozen=True, slots=True)
class EvaluationCost:
    """What one loss design costs in one precision.

    `seconds` and `working_bytes` are those of a step beside what its job holds, by the pixels of the canvas;
    `tile_seconds` and `tile_bytes` the same by those of a tile, whose halo is `halo` pixels wide. `first_seconds` is
    what the first step of a size takes more. Of the targets, `content_seconds` are those of the content's features,
    `style_seconds` those of a style's Gram matrices, by the pixels that the style is seen at; the first look at a size
    takes `first_look_seconds` more, for the device's kernels are made for one shape. `shape_bytes` of these stay with
    the process for each shape of a canvas, or of a tile, that it meets. `target_bytes_per_pixel` is what the targets
    hold as long as the canvas is worked at. A step that is yet to be traced takes `traced_seconds` more the first time,
    and `traced_bytes` of the process from then on.
    """

    seconds: Line
    working_bytes: Line
    tile_seconds: Line
    tile_bytes: Line
    first_seconds: Line
    content_seconds: Line
    style_seconds: Line
    halo: int
    target_bytes_per_pixel: float
    first_look_seconds: float = 0.0
    shape_bytes: float = 0.0
    traced_seconds: float = 0.0
    traced_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of a job: those it holds as long as it runs, and those that its steps need while they last.

    So do looks at its styles, and while it is written down `copied_bytes` come beside either, of one job at a time.
    """

    kept_bytes: float
    working_bytes: float
    is_tiled: bool
    copied_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job will take: peak bytes of the engine's process, seconds of its targets and steps, and the side of its
    tiles at its largest canvas, None when that is judged whole."""

    peak_bytes: int
    seconds: float
    tile_side: int | None


@dataclass(frozen=True, slots=True)
class CostModel:
    """Predicts jobs on this machine.

    `budget_bytes` is what the engine's process may use, `base_bytes` what it takes while it does nothing. `costs` are
    those that are known, by a recipe each; what is not costs as much as what is most like it: in precision first,
    then in its loss, then in its optimizer.
    """

    budget_bytes: int
    base_bytes: int
    costs: tuple[tuple[Recipe, EvaluationCost], ...] = field(repr=False)
    upkeep: Mapping[OptimizerName, Upkeep] = field(repr=False)

    def cost(self, recipe: Recipe) -> EvaluationCost:
        """What is known of the recipe, or of the one most like it."""

        def differences(known: tuple[Recipe, EvaluationCost]) -> tuple[bool, bool, bool]:
            other = known[0]
            is_other_precision = other.needs_float32 != recipe.needs_float32
            return is_other_precision, other.loss != recipe.loss, other.optimizer != recipe.optimizer

        return min(self.costs, key=differences)[1]

    def after(self, recipe: Recipe) -> "CostModel":
        """The model once a job of the recipe has begun: its step is traced then, and what that keeps is in the base."""
        cost = self.cost(recipe)
        if not cost.traced_bytes:
            return self
        traced = replace(cost, traced_seconds=0.0, traced_bytes=0.0)
        costs = tuple((known, traced if other is cost else other) for known, other in self.costs)
        return replace(self, base_bytes=self.base_bytes + round(cost.traced_bytes), costs=costs)

    def based_on(self, base_bytes: int) -> "CostModel":
        """The model of a process that by now takes so much while it does nothing."""
        return replace(self, base_bytes=base_bytes)

    def evaluation_s(self, recipe: Recipe, scale: Scale, tile_side: int | None) -> float:
        """Seconds of one evaluation at a scale, with the optimizer's move."""
        cost = self.cost(recipe)
        if tile_side is None:
            return cost.seconds.at(scale.height * scale.width)
        sizes = [
            replace(scale, height=scale.height // shrink, width=scale.width // shrink) for shrink in recipe.loss.shrinks
        ]
        return sum(_all_tiles(cost.tile_seconds, size, tile_side, cost.halo) for size in sizes)

    def scale_s(self, recipe: Recipe, scale: Scale, tile_side: int | None, style_scales: Sequence[float]) -> float:
        """Seconds of a whole scale."""
        iterations_s = scale.iterations * self.evaluation_s(recipe, scale, tile_side)
        return self.start_s(recipe, scale, tile_side, style_scales) + iterations_s

    def start_s(self, recipe: Recipe, scale: Scale, tile_side: int | None, style_scales: Sequence[float]) -> float:
        """Seconds of a scale beside one evaluation an iteration: its targets, and whatever else is evaluated."""
        extra = self.upkeep[recipe.optimizer].extra_evaluations if scale.iterations else 1
        evaluations_s = self.first_s(recipe, scale, tile_side) + extra * self.evaluation_s(recipe, scale, tile_side)
        return self.targets_s(recipe, scale, tile_side, style_scales) + evaluations_s

    def targets_s(self, recipe: Recipe, scale: Scale, tile_side: int | None, style_scales: Sequence[float]) -> float:
        """Seconds of the targets of a scale whose styles, none of them known, are seen at so many times its size.

        A style is taken for a square, since none but very narrow ones have more pixels on the same side, and its tiles'
        halos for as wide as a canvas's, which are never narrower.
        """
        cost = self.cost(recipe)
        seen_s = cost.first_look_seconds + self.content_s(recipe, scale, tile_side)
        for style_scale in style_scales:
            side = style_side(style_scale * max(scale.height, scale.width))
            seen_s += _all_tiles(cost.style_seconds, Scale(side, side, 0), STYLE_TILE_SIDE, cost.halo)
        return seen_s

    def content_s(self, recipe: Recipe, scale: Scale, tile_side: int | None) -> float:
        """Seconds of a look at the content at a scale."""
        cost = self.cost(recipe)
        return _all_tiles(cost.content_seconds, scale, tile_side or max(scale.height, scale.width), cost.halo)

    def first_s(self, recipe: Recipe, scale: Scale, tile_side: int | None) -> float:
        """Seconds that the first evaluation at a scale takes more than the others.

        A step that is not traced counts at every scale: which scale is a job's first is not known here.
        """
        cost = self.cost(recipe)
        largest = _largest_tile(scale, tile_side or max(scale.height, scale.width), cost.halo)
        return cost.first_seconds.at(largest) + cost.traced_seconds

    def tile_side(self, recipe: Recipe, scale: Scale, result_pixels: int) -> int | None:
        """None when the canvas of a scale can be judged whole; else the side of the largest tiles that fit the budget.

        The smallest when none does. `result_pixels` are those of the result, at whose size the content is kept.
        """
        sides = (None, *(side for side in TILE_SIDES if side < max(scale.height, scale.width)))
        for side in sides:
            if self.peak_bytes([self.footprint(recipe, scale, side, result_pixels)]) <= self._safe_bytes:
                return side
        return sides[-1]

    def footprint(self, recipe: Recipe, scale: Scale, tile_side: int | None, result_pixels: int) -> Footprint:
        """Bytes of a job while it is at a scale, where a plan may give it all of the recipe's iterations.

        A gradient that is put together of tiles is kept from step to step. That the process may know the shapes by now
        is not known here.
        """
        cost = self.cost(recipe)
        num_pixels = scale.height * scale.width
        kept_bytes = BYTES_PER_PIXEL * result_pixels + cost.target_bytes_per_pixel * num_pixels + cost.traced_bytes
        kept_bytes += _kernel_bytes(cost, scale, tile_side)
        upkeep = self.upkeep[recipe.optimizer]
        kept_bytes += upkeep.bytes(num_pixels, recipe.iterations, is_tiled=tile_side is not None)
        copied_bytes = upkeep.copied_bytes(num_pixels)
        if tile_side is None:
            return Footprint(kept_bytes, cost.working_bytes.at(num_pixels), is_tiled=False, copied_bytes=copied_bytes)
        tile_bytes = cost.tile_bytes.at(_largest_tile(scale, tile_side, cost.halo))
        return Footprint(kept_bytes + BYTES_PER_PIXEL * num_pixels, tile_bytes, True, copied_bytes)

    def job_footprint(self, recipe: Recipe, height: int, width: int, style_scales: Sequence[float]) -> Footprint:
        """Bytes of a job whose result has this size, and styles of these scales, at the scale that takes most."""
        scales = plan_scales(recipe, height, width)
        return max(
            self._footprints(recipe, scales, height * width, style_scales),
            key=lambda footprint: self.peak_bytes([footprint]),
        )

    def _footprints(
        self, recipe: Recipe, scales: Sequence[Scale], result_pixels: int, style_scales: Sequence[float]
    ) -> list[Footprint]:
        """Those of the scales, with what the looks at the styles take where that is more than the steps do.

        The gradient that is put together of tiles is kept from the first step on, so that a look has its place. The
        kernels of earlier scales stay.
        """
        found, cost, earlier_bytes = [], self.cost(recipe), 0.0
        for scale in scales:
            tile_side = self.tile_side(recipe, scale, result_pixels)
            steps = self.footprint(recipe, scale, tile_side, result_pixels)
            style_bytes = _style_bytes(scale, style_scales)
            if steps.is_tiled:
                style_bytes -= BYTES_PER_PIXEL * scale.height * scale.width
            working_bytes = max(steps.working_bytes, style_bytes)
            found.append(replace(steps, kept_bytes=steps.kept_bytes + earlier_bytes, working_bytes=working_bytes))
            earlier_bytes += _kernel_bytes(cost, scale, tile_side)
        return found

    def peak_bytes(self, footprints: Sequence[Footprint]) -> int:
        """Most bytes of the engine's process while it runs these jobs.

        Whole canvases may be judged together in a batch, tiled ones one at a time.
        """
        together = sum(footprint.working_bytes for footprint in footprints if not footprint.is_tiled)
        one_by_one = max((footprint.working_bytes for footprint in footprints if footprint.is_tiled), default=0.0)
        kept = sum(footprint.kept_bytes for footprint in footprints)
        copied = max((footprint.copied_bytes for footprint in footprints), default=0.0)
        return round(self.base_bytes + kept + max(together, one_by_one) + copied)

    def have_room(self, footprints: Sequence[Footprint]) -> bool:
        """Whether these jobs may run side by side."""
        return self.peak_bytes(footprints) <= self._safe_bytes

    def estimate(
        self, recipe: Recipe, scales: Sequence[Scale], height: int, width: int, style_scales: Sequence[float]
    ) -> Estimate:
        """What a job with these scales, a result of this size and styles of these scales will take, alone."""
        result_pixels = height * width
        sides = [self.tile_side(recipe, scale, result_pixels) for scale in scales]
        planned = list(zip(scales, sides, strict=True))
        footprints = self._footprints(recipe, scales, result_pixels, style_scales)
        return Estimate(
            max(self.peak_bytes([footprint]) for footprint in footprints),
            sum(self.scale_s(recipe, scale, side, style_scales) for scale, side in planned),
            sides[-1],
        )

    def is_feasible(self, recipe: Recipe, height: int, width: int, style_scales: Sequence[float]) -> bool:
        """Whether a job with a result of this size, and such styles, fits the budget, in tiles if need be."""
        return self.have_room([self.job_footprint(recipe, height, width, style_scales)])

    def least_budget_bytes(self, recipe: Recipe) -> float:
        """The budget below which there is hardly a picture by this recipe that fits."""
        least = replace(self, budget_bytes=0)  # by which everything is judged in the smallest tiles
        footprint = least.job_footprint(recipe, _LEAST_SIDE, _LEAST_SIDE, [1.0])
        return least.peak_bytes([footprint]) / _SAFE_SHARE

    def largest_side(self, recipe: Recipe, height: int, width: int, style_scales: Sequence[float]) -> int:
        """The longest side in pixels of the largest feasible result in the proportion of `height` to `width`.

        0 when not even the smallest is.
        """
        longest = max(height, width)
        low, high = 0, longest
        while low < high:
            middle = (low + high + 1) // 2
            shrunk = [max(MIN_SIDE, round(length * middle / longest)) for length in (height, width)]
            low, high = (
                (middle, high) if self.is_feasible(recipe, shrunk[0], shrunk[1], style_scales) else (low, middle - 1)
            )
        return low

    @property
    def _safe_bytes(self) -> float:
        return _SAFE_SHARE * self.budget_bytes


def _style_bytes(scale: Scale, style_scales: Sequence[float]) -> float:
    """Bytes of the largest style's image while it is made ready to be seen; a style is taken for a square."""
    side = max(style_side(style_scale * max(scale.height, scale.width)) for style_scale in style_scales)
    return _STYLE_COPIES * BYTES_PER_PIXEL * side**2


def _all_tiles(line: Line, scale: Scale, tile_side: int, halo: int) -> float:
    """The sum of a line over the tiles of a canvas; tiles overlap, so their pixels are more than the canvas has."""
    rows, columns = (list(_widths(length, tile_side, halo)) for length in (scale.height, scale.width))
    return line.fixed * len(rows) * len(columns) + line.per_pixel * sum(rows) * sum(columns)


def _largest_tile(scale: Scale, tile_side: int, halo: int) -> int:
    """Pixels of the largest tile."""
    rows, columns = (max(_widths(length, tile_side, halo)) for length in (scale.height, scale.width))
    return rows * columns


def _kernel_bytes(cost: EvaluationCost, scale: Scale, tile_side: int | None) -> float:
    """What stays for a canvas's shape, or for those of its tiles that differ in height or width."""
    if tile_side is None:
        return cost.shape_bytes
    rows, columns = (set(_widths(length, tile_side, cost.halo)) for length in (scale.height, scale.width))
    return cost.shape_bytes * len(rows) * len(columns)


def _widths(length: int, tile_side: int, halo: int) -> Iterator[int]:
    """How wide the tiles along one side of a canvas are, each a core and what the canvas has of its halo."""
    for start in range(0, length, tile_side):
        yield min(length, start + tile_side + halo) - max(0, start - halo)
