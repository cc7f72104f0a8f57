"""Reading metrics as Prometheus does."""

import asyncio
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Scraper:
    """Reads the metrics at an address."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/metrics"

    async def read(self) -> Samples:
        """Every sample by its name and labels."""
        text = await asyncio.to_thread(self._fetch)
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def value(self, name: str, **labels: str) -> float:
        """One sample; 0 when there is none."""
        return (await self.read()).get((f"styleserve_{name}", tuple(sorted(labels.items()))), 0.0)

    async def until(self, expected: float, name: str, **labels: str) -> None:
        """Wait until a sample has a value; what the engine did is told within about a second."""
        deadline = time.monotonic() + 20
        while (found := await self.value(name, **labels)) != expected:
            assert time.monotonic() < deadline, f"{name} is {found}, not {expected}: {await self.read()}"
            await asyncio.sleep(0.02)

    def _fetch(self) -> str:
        with urllib.request.urlopen(self._url, timeout=10) as response:
            return response.read().decode()
