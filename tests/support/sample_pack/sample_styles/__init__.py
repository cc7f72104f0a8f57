"""A style pack as a third party would make one; its code is never run by the server."""

raise ImportError("a style pack is data: nobody needs to import it")
