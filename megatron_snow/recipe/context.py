"""What every step of a run is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from megatron_snow.config import Recipe, Workspace
from megatron_snow.pipeline import Execution


@dataclass(frozen=True)
class Run:
    """A recipe, its folder, and the file that the resolved recipe was saved to (child processes read it)."""

    recipe: Recipe
    workspace: Workspace
    recipe_file: Path

    @property
    def execution(self) -> Execution:
        """Where the data stages run."""
        return Execution(self.recipe.executor, self.recipe.workers, self.recipe.executor_options)
