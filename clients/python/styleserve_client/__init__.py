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
    DeadlineError,
    ImageTooLargeError,
    InvalidRequestError,
    JobFailedError,
    NotFoundError,
    RetryLaterError,
    ServerError,
    StyleServeError,
    UnavailableError,
    Violation,
)
from styleserve_client.events import Event, JobChanged, Previewed, Progressed, ResultReady
from styleserve_client.picture import Picture
from styleserve_client.requests import ImageLike, Previews, Style, StyleLike, StylizeOptions

__all__ = [
    "AccessError",
    "AlreadyExistsError",
    "AsyncClient",
    "CancelledError",
    "Client",
    "DeadlineError",
    "Event",
    "ImageLike",
    "ImageTooLargeError",
    "InvalidRequestError",
    "JobChanged",
    "JobFailedError",
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
    "StyleServeError",
    "StylizeOptions",
    "UnavailableError",
    "Violation",
]
