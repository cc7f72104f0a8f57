"""A server with the toy engine in processes of its own: `python -m support.toy_process FOLDER ADDRESS [SETTINGS]`.

It is there to be killed, or told to stop by SIGTERM. It prints its address and the engine's process ID when the engine
is ready. SETTINGS are those of Config as JSON. A step takes 20 ms.
"""

import asyncio
import functools
import json
import sys
import time
from pathlib import Path

from styleserve import logs
from styleserve.workers.process import ProcessWorker
from support.service import running
from support.toy import ToyEngineFactory

STEP_S = 0.02
CHECKPOINT_S = 0.5


async def serve(folder: Path, address: str, settings: dict[str, object]) -> None:
    factory = ToyEngineFactory(
        functools.partial(time.sleep, STEP_S),
        checkpoints_dir=folder / "data" / "checkpoints",
        checkpoint_s=CHECKPOINT_S,
    )
    worker = ProcessWorker(factory, functools.partial(logs.configure, "text"))
    async with running(folder, worker=worker, listen=address, **settings) as service:
        service.server.heed_signals()
        print(service.address, worker.pid, flush=True)
        await service.server.serve_until_stopped()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}))
