"""A server with the toy engine in processes of its own, to be killed: `python -m support.toy_process FOLDER`.

It prints the front's and the engine's process IDs when the engine is ready. A step takes 20 ms.
"""

import asyncio
import functools
import sys
import time
from pathlib import Path

from styleserve import logs
from styleserve.workers.process import ProcessWorker
from support.service import running
from support.toy import ToyEngineFactory

STEP_S = 0.02
CHECKPOINT_S = 0.5


async def serve(folder: Path, address: str) -> None:
    factory = ToyEngineFactory(
        functools.partial(time.sleep, STEP_S),
        checkpoints_dir=folder / "data" / "checkpoints",
        checkpoint_s=CHECKPOINT_S,
    )
    worker = ProcessWorker(factory, functools.partial(logs.configure, "text"))
    async with running(folder, worker=worker, listen=address) as service:
        print(service.address, worker.pid, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
