"""What becomes of errors on the command line: sentences on standard error, and an exit status of 1."""

import contextlib
from collections.abc import Iterator

import click

from styleserve.errors import ConfigurationError
from styleserve_client import CatalogInvalidError, InvalidRequestError, StyleServeError, UnavailableError


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn the errors that a user can do something about into click's."""
    try:
        yield
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    except InvalidRequestError as error:
        lines = [f"{one.field}: {one.description}" if one.field else one.description for one in error.violations]
        raise click.ClickException("\n".join(lines) or str(error)) from None
    except CatalogInvalidError as error:
        raise click.ClickException("\n".join(error.problems) or str(error)) from None
    except UnavailableError as error:
        hint = "" if error.reason else "; is a server running there? start one with: styleserve serve"
        raise click.ClickException(f"{error}{hint}") from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{place}{error.strerror or error}") from None
    except StyleServeError as error:
        incident = f" (incident {error.incident})" if error.incident else ""
        raise click.ClickException(f"{error}{incident}") from None
