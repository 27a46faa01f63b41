"""SnowCoder (paper, Table 1): Llama-2's shape as a layer spec of our modules over megatron-core's parallel linears.

Start with `spec.py`: what a layer is made of; `snowcoder.py` builds a stage of the model for `engine.Engine`.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # megatron-core on the missing apex, which is not used
    from megatron_snow.model.snowcoder import SnowCoder, build_snowcoder

__all__ = ["SnowCoder", "build_snowcoder"]
