"""A recipe run from end to end, stage by stage. Start at `plan.py` (what is run, in which order), then `run.py`."""
