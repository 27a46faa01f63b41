"""What recomputation is for: fewer bytes are kept between the forward and the backward pass. That it computes the same: test_agreement."""

from __future__ import annotations

import torch

from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder

TOKENS = torch.randint(0, 130, (4, 33), generator=torch.Generator().manual_seed(5))


def kept_bytes(recipe):
    """Bytes of activations that a forward pass leaves for the backward pass, weights not counted."""
    engine = Engine(recipe, build_snowcoder(recipe))
    kept = []

    def note(tensor):
        kept.append(tensor)
        return tensor

    weights = {parameter.untyped_storage().data_ptr() for parameter in engine._chunks[0].parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = engine._chunks[0](TOKENS[:, :-1], None, None, labels=TOKENS[:, 1:]).sum()
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    loss.backward()
    engine.close()
    return sum(size for place, size in storages.items() if place not in weights)


def test_fewer_bytes_are_kept(workers, tiny_recipe):
    none, selective, full = (workers.run(1, kept_bytes, tiny_recipe(recompute=how))[0] for how in ("none", "selective", "full"))
    inputs = 4 * 4 * 32 * 64 * 4  # layers x sequences x positions x hidden x bytes
    assert full < selective < none
    assert full > inputs
    # Per layer two norms' outputs [32, 4, 64] and swiglu's [32, 4, 96], and what these ops keep themselves.
    assert none - selective > 4 * 32 * 4 * (2 * 64 + 96) * 4
