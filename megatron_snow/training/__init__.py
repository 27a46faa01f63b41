"""Training in phases (paper 2.2 to 2.4): plan, loop, what is written, what stops a run.

Start with `phases` (which step reads what at which rate) and `loop` (the whole loop, one screen). `pretrain`
puts a run together; `prepare` checks all that can be checked without torch. Loop and engine know
nothing of logging, saving or evaluation: small callbacks do that.
"""

from megatron_snow.training.phases import Plan, PlannedPhase, Step
from megatron_snow.training.run import Run, prepare
from megatron_snow.training.schedule import learning_rate

__all__ = ["Plan", "PlannedPhase", "Run", "Step", "learning_rate", "prepare"]
