"""One node of the delivery tests, as a process that can be killed: `python delivery_node.py FOLDER PORT [TOKENS]`.

Prints its port when it listens. The plan names the nodes of FOLDER/plan.json, `{"HOST": "IP:PORT"}`; where the file
FOLDER/election is, nobody knows the plan, and the next time there is a leader again.
"""

import asyncio
import json
import sys
from pathlib import Path

from manor.delivery.configs import ConfigStore
from manor.delivery.messages import PlanNode
from manor.delivery.routes import routes
from manor.delivery.staging import Receiver
from manor.http.errors import HttpProblem
from manor.http.service import Service, start
from manor.trust.tokens import Tokens


async def serve(folder: Path, port: int, tokens: Path | None) -> None:
    receiver = Receiver({"site": folder / "images"}.get, folder / "state", configs=ConfigStore(folder / "etc"))

    def plan(sandbox: str, role: str | None) -> list[PlanNode]:
        election = folder / "election"
        if election.exists():
            election.unlink()
            raise HttpProblem(503, "no leader just now")
        nodes = json.loads((folder / "plan.json").read_text()) if sandbox == "site" else {}
        return [PlanNode(hostname=name, addresses=(address,)) for name, address in nodes.items()]

    service = Service(name="node", version="v1", tokens=Tokens.read(tokens) if tokens else None)
    service.add(*routes(receiver, plan))
    running = await start(service, "127.0.0.1", port)
    print(running.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    folder, port, *rest = sys.argv[1:]
    (Path(folder) / "images").mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(Path(folder), int(port), Path(rest[0]) if rest else None))
