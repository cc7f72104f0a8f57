"""StyleCatalogService: the catalogue, read."""

from styleserve import images
from styleserve.catalog.keeper import CatalogKeeper
from styleserve.catalog.style import Style
from styleserve.catalog.style_images import StyleImages
from styleserve.decoding import Decoder
from styleserve.errors import StyleImageUnavailableError
from styleserve.images import Encoded
from styleserve.jobs.jobs import Jobs
from styleserve.rpc import responses
from styleserve.rpc.access import calling
from styleserve.rpc.handlers import Context
from styleserve.rpc.inspections import Inspections
from styleserve.rpc.paging import decode_token, encode_token, fill_page, page_size
from styleserve.v1 import style_catalog_pb2, style_catalog_pb2_grpc

THUMBNAIL_SIDE = 256
_DEFAULT_PAGE = 100


class StyleCatalogServicer(style_catalog_pb2_grpc.StyleCatalogServiceServicer):
    """Answers from the catalogue as it is at each call."""

    def __init__(
        self,
        catalogs: CatalogKeeper,
        style_images: StyleImages,
        jobs: Jobs,
        decoder: Decoder,
        inspections: Inspections,
    ) -> None:
        self._catalogs = catalogs
        self._style_images = style_images
        self._jobs = jobs
        self._decoder = decoder
        self._inspections = inspections

    async def ListStyles(
        self, request: style_catalog_pb2.ListStylesRequest, context: Context
    ) -> style_catalog_pb2.ListStylesResponse:
        """List the styles, by name."""
        size = page_size(request.page_size, _DEFAULT_PAGE)
        last = decode_token(request.page_token, str)
        styles = [style for style in self._catalogs.catalog.styles if last is None or style.style_id > last]
        page = fill_page((responses.style(style, self._has_targets(style)) for style in styles), size)
        return style_catalog_pb2.ListStylesResponse(
            styles=page,
            next_page_token=encode_token(styles[len(page) - 1].style_id) if len(page) < len(styles) else "",
        )

    async def GetStyle(
        self, request: style_catalog_pb2.GetStyleRequest, context: Context
    ) -> style_catalog_pb2.GetStyleResponse:
        """Read a style, with a thumbnail when its image is at hand."""
        style = self._catalogs.catalog.find(request.name)
        thumbnail = await self._inspections.do(calling().name, self._thumbnail, style)
        return style_catalog_pb2.GetStyleResponse(style=responses.style(style, self._has_targets(style), thumbnail))

    def _has_targets(self, style: Style) -> bool:
        return self._jobs.has_targets(style.image.sha256)

    def _thumbnail(self, style: Style) -> Encoded | None:
        """A small picture of it, if its image is at hand; why it is not is of no concern to who reads the rest."""
        try:
            data = self._style_images.load(style)
        except StyleImageUnavailableError:
            return None
        picture = self._decoder.decode(data, fit_side=THUMBNAIL_SIDE)
        return images.encode_preview(images.to_uint8(picture.pixels), THUMBNAIL_SIDE)
