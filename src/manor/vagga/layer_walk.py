"""Which layers make the root as it was after a step; nothing is built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from manor.vagga.errors import PreparationError
from manor.vagga.layers import LayerStore, layer_key
from manor.vagga.state import BuildState
from manor.vagga.steps.container import Container as ContainerStep

if TYPE_CHECKING:
    from manor.vagga.images import Images


def layers_until(images: Images, name: str, step: int) -> list[Path]:
    """From the uppermost down; PreparationError when a layer is missing."""
    container, store = images.containers[name], LayerStore(images.store.layers)
    if not 1 <= step <= len(container.setup):
        raise PreparationError(f"container `{name}` has {len(container.setup)} steps; give a number from 1 on")
    maps, found, epoch = images.maps(name), [], images.epoch
    for link in images.versions().links(name):
        if link.number > step:
            break
        if isinstance(link.step, ContainerStep):
            below = images.find(link.step.name)
            if below is None:
                raise PreparationError(f"container `{link.step.name}` is not built; build it first")
            found = [below.root]
            epoch = images.epoch or msgspec.json.decode(below.meta().state, type=BuildState).epoch
        elif link.step.layer:
            layer = store.get(layer_key(link.digest, maps, epoch))
            if layer is None:
                raise PreparationError(
                    f"step {link.number} of container `{name}` has no layer; run `vagga _build {name}`"
                )
            found.append(layer.diff)
            epoch = layer.meta.state.epoch
    if not found:
        raise PreparationError(f"the first {step} steps of container `{name}` make no files; give a later step")
    return found[::-1]
