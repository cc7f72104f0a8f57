"""The Python client of StyleServe: `Client` for ordinary code, `AsyncClient` for asyncio, one behaviour for both.

with Client("127.0.0.1:50051") as client:
    client.stylize("photo.jpg", "mosaic", max_side=512).save("painting.png")
"""

from styleserve_client.aio import AsyncClient
from styleserve_client.client import Client
from styleserve_client.errors import (
    AccessError,
    AlreadyExistsError,
    CancelledError,
    CatalogInvalidError,
    DeadlineError,
    ImageTooLargeError,
    InvalidRequestError,
    JobFailedError,
    NotFoundError,
    RetryLaterError,
    ServerError,
    StyleReadOnlyError,
    StyleServeError,
    UnavailableError,
    Violation,
    raise_for,
)
from styleserve_client.events import Event, JobChanged, Previewed, Progressed, ResultReady
from styleserve_client.picture import Picture
from styleserve_client.requests import ImageLike, JobLike, Previews, Style, StyleLike, StyleOptions, StylizeOptions

__all__ = [
    "AccessError",
    "AlreadyExistsError",
    "AsyncClient",
    "CancelledError",
    "CatalogInvalidError",
    "Client",
    "DeadlineError",
    "Event",
    "ImageLike",
    "ImageTooLargeError",
    "InvalidRequestError",
    "JobChanged",
    "JobFailedError",
    "JobLike",
    "NotFoundError",
    "Picture",
    "Previewed",
    "Previews",
    "Progressed",
    "ResultReady",
    "RetryLaterError",
    "ServerError",
    "Style",
    "StyleLike",
    "StyleOptions",
    "StyleReadOnlyError",
    "StyleServeError",
    "StylizeOptions",
    "UnavailableError",
    "Violation",
    "raise_for",
]
