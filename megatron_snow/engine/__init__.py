"""megatron-core behind one class: `Engine` trains, evaluates, saves and loads a model on any number of processes.

Start with `engine.py`. `read_model` and `write_model` exchange whole weights with other formats in one process,
`TensorReader` and `write_tensors` those of checkpoints, one at a time.
megatron-core is imported here and in `model/` only (DESIGN 3).
"""

import warnings

with warnings.catch_warnings():
    # megatron-core warns once for each part of Transformer Engine and apex that is missing; none of them is used.
    warnings.simplefilter("ignore", UserWarning)
    from megatron_snow.config.weights import weight_shapes
    from megatron_snow.engine.engine import Engine, StepResult
    from megatron_snow.engine.exchange import read_model, write_model
    from megatron_snow.engine.saving import Save
    from megatron_snow.engine.streaming import TensorReader, write_tensors

__all__ = ["Engine", "Save", "StepResult", "TensorReader", "read_model", "weight_shapes", "write_model", "write_tensors"]
