"""The linear head: class-balanced logistic regression on frozen features, and its ROC-AUC.

The paper does not say whether its encoder is frozen; FineWeb-Edu, its model here, freezes it. With
frozen features the loss is convex, so the fit has one answer and needs no seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megatron_snow.common.errors import UserError

# Weight of the squared norm (features are standardised): enough for 384 weights on some hundred documents.
_RIDGE = 1e-2
_ITERATIONS = 200


@dataclass(frozen=True)
class Head:
    """score = sigmoid(features @ weight + bias); weight float32[width]."""

    weight: np.ndarray
    bias: float

    def score(self, features: np.ndarray) -> np.ndarray:
        """Probability of the positive class, float64[n], of features float32[n, width]."""
        logits = features.astype(np.float64) @ self.weight.astype(np.float64) + self.bias
        scores: np.ndarray = 1.0 / (1.0 + np.exp(-np.clip(logits, -60, 60)))
        return scores

    def save(self, path: Path) -> None:
        """Write weight and bias as safetensors."""
        from safetensors.numpy import save_file

        save_file({"weight": self.weight, "bias": np.array([self.bias], np.float32)}, path)

    @classmethod
    def load(cls, path: Path, width: int) -> Head:
        """Read a head; UserError that names the file when it is damaged or of another width."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
            head = cls(tensors["weight"], float(tensors["bias"][0]))
        except (SafetensorError, KeyError, OSError) as error:
            raise UserError(f"{path}: not an annotator's head ({error}); delete it and train it again") from error
        if head.weight.shape != (width,):
            raise UserError(f"{path}: a head for features of width {head.weight.size}, the encoder's are {width} wide; train it again")
        return head


def fit_head(features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Head:
    """Logistic regression by full-batch L-BFGS in float64 on standardised features.

    features float32[n, width]; labels bool[n]; weights float64[n] of the samples within their class: each class
    as a whole weighs one half.
    """
    import torch

    class_sums = np.where(labels, weights[labels].sum(), weights[~labels].sum())
    sample = weights / class_sums / 2
    mean = sample @ features
    scale = np.sqrt(sample @ np.square(features - mean)) + 1e-6
    x_NH = torch.from_numpy((features - mean) / scale)
    y_N, sample_N = torch.from_numpy(labels.astype(np.float64)), torch.from_numpy(sample)
    weight_H = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight_H, bias], max_iter=_ITERATIONS, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        entropy_N = torch.nn.functional.binary_cross_entropy_with_logits(x_NH @ weight_H + bias, y_N, reduction="none")
        total = (sample_N * entropy_N).sum() + _RIDGE * weight_H.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    weight = weight_H.detach().numpy() / scale  # standardisation folded in
    return Head(weight.astype(np.float32), float(bias.item() - weight @ mean))


def roc_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order, ties one half; nan without both classes."""
    positives, negatives = np.sort(scores[labels]), np.sort(scores[~labels])
    if not len(positives) or not len(negatives):
        return float("nan")
    below = np.searchsorted(negatives, positives, "left").sum()
    ties = np.searchsorted(negatives, positives, "right").sum() - below
    return float((below + ties / 2) / (len(positives) * len(negatives)))
