"""Which implementation runs, and why."""

from __future__ import annotations

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.kernels import KERNELS_VARIABLE, REGISTRY, Registry


@pytest.fixture(autouse=True)
def no_choice_by_environment(monkeypatch):
    monkeypatch.delenv(KERNELS_VARIABLE, raising=False)


@pytest.fixture
def registry():
    found = Registry()
    found.add("double", "reference", lambda x: x + x)
    found.add("double", "torch", lambda x: 2 * x)
    found.add("double", "cuda", lambda x: x << 1, lambda: "no GPU here")
    return found


def test_the_fastest_that_can_run_is_chosen(registry):
    choice = registry.choose("double")
    assert (choice.implementation.name, choice.reason) == ("torch", "cuda: no GPU here")
    assert registry.function("double")(4) == 8


def test_the_environment_forces_one(registry, monkeypatch):
    monkeypatch.setenv(KERNELS_VARIABLE, "reference")
    assert registry.choose("double").implementation.name == "reference"
    monkeypatch.setenv(KERNELS_VARIABLE, "cuda")
    assert registry.choose("double").implementation.name == "torch"


def test_an_unknown_name_is_refused(registry, monkeypatch):
    monkeypatch.setenv(KERNELS_VARIABLE, "fast")
    with pytest.raises(UserError, match="MSNOW_KERNELS=fast: no such implementation; choose one of cuda, reference, torch"):
        registry.choose("double")


def test_every_op_is_explained():
    assert {choice.op for choice in REGISTRY.explain()} == {
        "rms_norm", "add_rms_norm", "swiglu", "rope", "rope_", "attention", "document_attention", "adamw_", "adamw_flat_",
        "sum_of_squares", "vocab_parallel_cross_entropy",
    }  # fmt: skip
    assert all(choice.reason for choice in REGISTRY.explain())


def test_the_cpu_takes_no_triton_and_says_why():
    for choice in REGISTRY.explain():
        assert choice.implementation.name in ("reference", "torch")
    assert "triton: " in REGISTRY.choose("rms_norm").reason


def test_what_is_chosen_is_remarked_on():
    found = Registry()
    found.add("double", "triton", lambda x: 2 * x, remark="not run on a GPU")
    assert found.choose("double").reason == "not run on a GPU"
