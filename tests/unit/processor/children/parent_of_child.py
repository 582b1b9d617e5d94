"""A worker's process with one child; prints the pid of the child, and waits to be killed."""

import asyncio
import sys
from pathlib import Path

from smelt.processor.children.process import Child


async def main() -> None:
    environment = {"PYTHONPATH": str(Path(__file__).parents[4]), "START": sys.argv[1]}
    child = await Child.start("tests.unit.processor.children.misbehaving_child", environment=environment)
    if sys.argv[2] == "hanging":
        await child.send({"do": "hang"})
    print(child.pid, flush=True)
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
