"""Parts: what several requests hold, read the same way in each: recipes and sources of images."""

from collections.abc import Collection

from styleserve.errors import Violation, violation
from styleserve.jobs.image_store import Shelf
from styleserve.presets import check
from styleserve.recipes import RecipeChanges
from styleserve.rpc.enums import CANVAS_INITS, COLOR_MODES, OPTIMIZERS
from styleserve.v1 import image_pb2, recipe_pb2


def read_source(source: image_pb2.ImageSource, field: str, shelf: Shelf) -> bytes:
    """The encoded image, not judged yet; raises InvalidRequestError when there is none, or ImageNotFoundError."""
    match source.WhichOneof("source"):
        case "inline":
            return source.inline
        case "image":
            return shelf.read_named(source.image)
        case _:
            raise violation(field, "got no image; set `inline` or `image`", "REQUIRED")


def read_recipe(recipe: recipe_pb2.Recipe, field: str, max_iterations: int) -> tuple[RecipeChanges, list[Violation]]:
    """What a message sets of a recipe, and everything wrong with it; `field` is where it stands in the request."""
    weights = recipe.weights
    changes = RecipeChanges(
        preset=recipe.preset or None,
        optimizer=OPTIMIZERS.get(recipe.optimizer),
        iterations=recipe.iterations if recipe.HasField("iterations") else None,
        content_weight=weights.content if weights.HasField("content") else None,
        style_weight=weights.style if weights.HasField("style") else None,
        total_variation_weight=weights.total_variation if weights.HasField("total_variation") else None,
        init=CANVAS_INITS.get(recipe.init),
        color=COLOR_MODES.get(recipe.color),
        seed=recipe.seed if recipe.HasField("seed") else None,
        strength=recipe.strength if recipe.HasField("strength") else None,
    )
    violations = [
        *check_enum(f"{field}.optimizer", recipe.optimizer, OPTIMIZERS),
        *check_enum(f"{field}.init", recipe.init, CANVAS_INITS),
        *check_enum(f"{field}.color", recipe.color, COLOR_MODES),
        *check(changes, field, max_iterations),
    ]
    return changes, violations


def check_enum(field: str, value: int, allowed: Collection[int]) -> list[Violation]:
    """A complaint about a number that the contract's enum does not have."""
    if value in allowed:
        return []
    numbers = ", ".join(str(number) for number in sorted(allowed))
    return [Violation(field, f"got {value}; allowed: {numbers}", "UNKNOWN_VALUE")]
