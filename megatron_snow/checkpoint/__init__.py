"""Checkpoints that commit (DESIGN 9): they are whole or they are not there. Needs no torch.

Start with `CheckpointStore`: `save` writes a folder under a temporary name, forces it to the disk,
records a digest of each file, renames it and sets the COMMITTED marker last; `latest` verifies and,
where a file is damaged, names it and falls back to the newest whole checkpoint.

    step-00000128/  model/ (torch_dist)  state.yaml  recipe.yaml  tokenizer.model  manifest.json  COMMITTED
"""

from megatron_snow.checkpoint.integrity import DamagedCheckpoint
from megatron_snow.checkpoint.store import Checkpoint, CheckpointStore, read_checkpoint

__all__ = ["Checkpoint", "CheckpointStore", "DamagedCheckpoint", "read_checkpoint"]
