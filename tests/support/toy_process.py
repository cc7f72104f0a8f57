"""A server with the toy engine in processes of its own: `python -m support.toy_process FOLDER ADDRESS [MOMENT]`.

It is there to be killed, or told to stop by SIGTERM. It prints the front's address and the engine's process ID when the
engine is ready. A step takes 20 ms. At a moment of `support.dying` the front ends, the first time that it comes to it.
"""

import asyncio
import functools
import json
import os
import sys
import time
from pathlib import Path

from styleserve import logs, memory
from styleserve.workers.process import ProcessWorker
from support import dying
from support.service import running
from support.toy import ToyEngineFactory

STEP_S = 0.02
CHECKPOINT_S = 0.5
#: The environment may hold settings, those of Config, and the toy's `pull` and `has_adam`, as JSON.
SETTINGS = "TOY_SETTINGS"


async def serve(folder: Path, address: str) -> None:
    logs.configure("text")
    memory.keep_heaps_small(os.environ)
    settings = json.loads(os.environ.get(SETTINGS, "{}"))
    factory = ToyEngineFactory(
        functools.partial(time.sleep, STEP_S),
        checkpoints_dir=folder / "data" / "checkpoints",
        checkpoint_s=CHECKPOINT_S,
        pull=settings.pop("pull", 1.0),
        has_adam=settings.pop("has_adam", True),
    )
    worker = ProcessWorker(factory, functools.partial(logs.configure, "text"))
    async with running(folder, worker=worker, listen=address, **settings) as service:
        service.server.heed_signals()
        print(service.address, worker.pid, flush=True)
        await service.server.serve_until_stopped()


if __name__ == "__main__":
    if len(sys.argv) > 3:
        dying.die_once(Path(sys.argv[1]) / "died", sys.argv[3])
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
