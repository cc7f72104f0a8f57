"""From a submission to what an engine is told, and from what an engine made to the file that is delivered.

Both decode and encode images, so they are called off the event loop.
"""

import hashlib

import numpy as np

from styleserve import colors, images
from styleserve.decoding import Decoder
from styleserve.engine.specification import JobSpecification
from styleserve.evaluation import Pixels, StyleImage
from styleserve.events import EngineInfo
from styleserve.images import ImageLimits, Picture
from styleserve.jobs.feed import Thumbnail
from styleserve.jobs.frames import MAX_PREVIEW_SIDE
from styleserve.jobs.image_store import ImageStore
from styleserve.jobs.status import Provenance, StoredImage
from styleserve.jobs.submission import ChosenStyle, Submission
from styleserve.model.style_pictures import decoded_side
from styleserve.recipes import Recipe, style_side
from styleserve.version import version

#: Callers' style images of more pixels are shrunk before they are sent: to decode one the engine would need 5 to 20
#: bytes a pixel, of memory that canvases are planned for. A JPEG is shrunk by its decoder.
_MOST_STYLE_PIXELS = 8_000_000
#: So are those of more bytes, which the engine keeps as long as their job.
_MOST_STYLE_BYTES = 4 * 2**20


class Pictures:
    """Reads the images of submissions, and writes their results, in `image_store`."""

    def __init__(self, image_store: ImageStore, decoder: Decoder) -> None:
        self._image_store = image_store
        self._decoder = decoder

    def specify(
        self, job_id: str, submission: Submission, deadline: float | None
    ) -> tuple[JobSpecification, Picture, Pixels | None]:
        """What the engine is told of a job, the content, and what `tint` wants; `deadline` is the engine's own.

        The content has the size of the result. `deliver` wants it again, when there is no time to decode it once more.
        Raises RequestError.
        """
        content = self._content(submission)
        specification = JobSpecification(
            job_id=job_id,
            content=content.pixels,
            styles=tuple(self._style(chosen, submission, content) for chosen in submission.styles),
            recipe=submission.recipe,
            deadline=deadline,
            run_timeout_s=submission.run_timeout_s,
            fails_at_deadline=submission.fails_at_deadline,
            caller=submission.caller,
            trace=submission.trace,
        )
        keeps_colours = submission.recipe.color == "content_luminance"
        return specification, content, images.fit(content.pixels, MAX_PREVIEW_SIDE) if keeps_colours else None

    def deliver(self, submission: Submission, content: Picture, pixels: Pixels, provenance: Provenance) -> StoredImage:
        """Finish the engine's picture, encode it with its provenance, and store it; `content` is that of `specify`."""
        if submission.recipe.color == "content_luminance":
            pixels = colors.transfer_luminance(pixels, content.pixels)
        output = submission.output
        encoded = images.encode(
            Picture(pixels, content.alpha),
            output.image_format,
            output.quality,
            describe(provenance) if output.carries_provenance else None,
        )
        digest = self._image_store.shelf(submission.caller).put(encoded.data)
        return StoredImage(digest, encoded.mime_type, encoded.width, encoded.height, len(encoded.data))

    def _content(self, submission: Submission) -> Picture:
        """The content at the size of the result."""
        output = submission.output
        data = self._image_store.shelf(submission.caller).read(submission.content_digest)
        picture = self._decoder.decode(data, fit_side=max(output.height, output.width))
        assert picture.pixels.shape[:2] == (output.height, output.width)
        return picture

    def _style(self, chosen: ChosenStyle, submission: Submission, content: Picture) -> StyleImage:
        """The image as it came, or as large as it is seen, where it is matched to the content or too large to send."""
        data = self._image_store.shelf(submission.caller).read(chosen.digest)
        is_matched = submission.recipe.color == "content_matched"
        if not is_matched and (chosen.is_catalogued or not _is_too_large(data)):
            return StyleImage(chosen.digest, data, chosen.weight, chosen.scale, chosen.is_catalogued)
        fit_side = decoded_side(style_side(chosen.scale * max(content.pixels.shape[:2])))
        pixels = self._decoder.decode(data, fit_side=fit_side).pixels
        sent = images.encode(Picture(colors.match_colors(pixels, content) if is_matched else pixels), "png").data
        return StyleImage(hashlib.sha256(sent).hexdigest(), sent, chosen.weight, chosen.scale)


def tint(thumbnail: Thumbnail, colours: Pixels) -> Thumbnail:
    """A preview in the colours that its picture will have, those of `colours`, the content made small."""
    made = np.divide(thumbnail, 255, dtype=np.float32)
    return images.to_uint8(colors.transfer_luminance(made, images.resize(colours, *thumbnail.shape[:2])))


def _is_too_large(data: bytes) -> bool:
    """Whether an engine would keep more bytes of it, or take more to decode it, than is planned for."""
    if len(data) > _MOST_STYLE_BYTES:
        return True
    return images.sniff(data) != "jpeg" and images.count_pixels(data, ImageLimits()) > _MOST_STYLE_PIXELS


def trace_back(
    submission: Submission, recipe: Recipe, engine: EngineInfo, network_passes: int, is_whole: bool = False
) -> Provenance:
    """How a picture of this submission was made by this engine; `is_whole` when that was all of its recipe.

    `recipe` is the submission's, calibrated where an engine got as far as a picture.
    """
    return Provenance(
        server_version=version(),
        weights=engine.weights,
        device=engine.device,
        precision=engine.precision_for(recipe),
        recipe_json=recipe.to_json(),
        styles=tuple(chosen.name for chosen in submission.styles),
        network_passes=network_passes,
        is_whole=is_whole,
    )


def describe(provenance: Provenance) -> dict[str, object]:
    """The provenance as a result carries it: what determines the picture, so that equal pictures are equal bytes."""
    return {
        "software": f"StyleServe {provenance.server_version}",
        "weights": provenance.weights,
        "device": provenance.device,
        "precision": provenance.precision,
        "recipe": provenance.recipe_json,
        "styles": list(provenance.styles),
    }
