"""`rerender`: render roles on a node now, changed or not."""

from __future__ import annotations

import argparse

from manor.verwalter.ctl.client import Client
from manor.verwalter.ctl.errors import NotFound
from manor.verwalter.ctl.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("roles", nargs="*", metavar="ROLE", help="by default all of the node")
    parser.add_argument("--node", metavar="NAME", help="by default the one that is asked")


def run(arguments: argparse.Namespace, session: Session) -> int:
    client = session.client if arguments.node is None else node_named(session.client, arguments.node)
    if arguments.roles:
        here = client.get("roles_data")["to_render"]
        for role in arguments.roles:
            if role not in here:
                raise NotFound(f"no such role `{role}` on this node; there are {', '.join(sorted(here)) or 'none'}")
    answer = client.post("force_render_all", {"roles": arguments.roles} if arguments.roles else {})
    if session.json:
        session.print_json(answer)
    else:
        print("rendering")
    return 0


def node_named(client: Client, name: str) -> Client:
    """By host name. Raises NotFound."""
    nodes = client.get("nodes")
    if name not in nodes:
        raise NotFound(f"no such node `{name}`; there are {', '.join(sorted(nodes))}")
    return client if nodes[name]["self"] else client.at(nodes[name]["addr"])
