"""megatron-core behind one class: `Engine` trains, evaluates, saves and loads a model on any number of processes.

Start with `engine.py`. `read_model` and `write_model` exchange whole weights with other formats in one process.
megatron-core is imported here and in `model/` only (DESIGN 3).
"""

import warnings

with warnings.catch_warnings():
    # megatron-core warns once for each part of Transformer Engine and apex that is missing; none of them is used.
    warnings.simplefilter("ignore", UserWarning)
    from megatron_snow.config.weights import weight_shapes
    from megatron_snow.engine.engine import Engine, StepResult
    from megatron_snow.engine.exchange import read_model, write_model

__all__ = ["Engine", "StepResult", "read_model", "weight_shapes", "write_model"]
