"""StyleAdminService: the catalogue, changed while the server runs.

A caller needs the scope `admin`; what it can change is styles and nothing else.
"""

from styleserve.catalog.created import Draft
from styleserve.catalog.keeper import CatalogKeeper
from styleserve.catalog.rules import TEXTS, check_facts, check_id
from styleserve.decoding import Decoder
from styleserve.errors import (
    CatalogError,
    CatalogInvalidError,
    ImageNotFoundError,
    InvalidImageError,
    InvalidRequestError,
    Violation,
)
from styleserve.jobs.image_store import ImageStore, Shelf
from styleserve.jobs.jobs import Jobs
from styleserve.rpc import responses
from styleserve.rpc.access import calling
from styleserve.rpc.handlers import Context
from styleserve.rpc.inspections import Inspections
from styleserve.rpc.parts import read_recipe, read_source
from styleserve.v1 import style_catalog_pb2, style_catalog_pb2_grpc


class StyleAdminServicer(style_catalog_pb2_grpc.StyleAdminServiceServicer):
    """Changes the catalogue that `catalogs` keeps."""

    def __init__(
        self,
        catalogs: CatalogKeeper,
        image_store: ImageStore,
        jobs: Jobs,
        decoder: Decoder,
        inspections: Inspections,
        max_iterations: int,
    ) -> None:
        self._catalogs = catalogs
        self._image_store = image_store
        self._jobs = jobs
        self._decoder = decoder
        self._inspections = inspections
        self._max_iterations = max_iterations

    async def CreateStyle(
        self, request: style_catalog_pb2.CreateStyleRequest, context: Context
    ) -> style_catalog_pb2.CreateStyleResponse:
        """Add a style from an image."""
        caller = calling()
        self._jobs.charge(caller, request.ByteSize())
        shelf = self._image_store.shelf(caller.name)
        style = await self._catalogs.create(await self._inspections.do(caller.name, self._read, request, shelf))
        return style_catalog_pb2.CreateStyleResponse(
            style=responses.style(style, self._jobs.has_targets(style.image.sha256))
        )

    async def DeleteStyle(
        self, request: style_catalog_pb2.DeleteStyleRequest, context: Context
    ) -> style_catalog_pb2.DeleteStyleResponse:
        """Remove a style that CreateStyle added."""
        await self._catalogs.delete(request.name)
        return style_catalog_pb2.DeleteStyleResponse()

    async def ReloadCatalog(
        self, request: style_catalog_pb2.ReloadCatalogRequest, context: Context
    ) -> style_catalog_pb2.ReloadCatalogResponse:
        """Read the catalogue's folders and packs again, all or nothing."""
        try:
            changes = await self._catalogs.reload(validate_only=request.validate_only)
        except CatalogError as error:
            raise CatalogInvalidError(error.problems) from None
        return style_catalog_pb2.ReloadCatalogResponse(
            added=changes.added, changed=changes.changed, removed=changes.removed
        )

    def _read(self, request: style_catalog_pb2.CreateStyleRequest, shelf: Shelf) -> Draft:
        """What is asked for; raises InvalidRequestError with every violation, else ImageNotFoundError."""
        given = request.style
        texts = {key: getattr(given, key) for key in TEXTS}
        facts = check_facts(texts, given.tags)
        changes, recipe_violations = read_recipe(given.recipe, "style.recipe", self._max_iterations)
        violations = [
            *check_id(request.style_id, "style_id"),
            *(Violation(f"style.{one.field}", one.description, one.reason) for one in facts),
            *recipe_violations,
        ]
        image, not_found = b"", None
        try:
            image = read_source(request.image, "image", shelf)
            self._decoder.measure(image)
        except InvalidRequestError as error:
            violations += error.violations
        except InvalidImageError as error:
            violations.append(Violation("image", error.description, error.reason))
        except ImageNotFoundError as error:
            not_found = error
        if violations:
            raise InvalidRequestError(violations)
        if not_found is not None:
            raise not_found
        return Draft(request.style_id, texts, tuple(given.tags), changes, image)
