"""Where curves part: on constructed arrays, where the answer is known, and on curves of a small model that was really trained."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.common.divergence import RECENT, WINDOW, LossWatch, newest_scores, partings, rises

BEFORE = WINDOW + RECENT


def metrics(losses: list[float], phase: str = "general", first: int = 1) -> list[dict[str, Any]]:
    return [{"step": step, "tokens": 10 * step, "phase": phase, "loss": loss} for step, loss in enumerate(losses, first)]


def noisy(level: float, count: int, seed: int = 0) -> list[float]:
    source = random.Random(seed)
    return [level + source.gauss(0, 0.05) for _ in range(count)]


def trained(rates: list[float]) -> list[dict[str, Any]]:
    """Losses of a bigram model of bytes over the standard library's json, SGD with momentum at these rates, a step each."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small take longer on more
    generator = torch.Generator().manual_seed(0)
    text = torch.tensor(list(Path(json.__path__[0], "decoder.py").read_bytes()))
    embedding = torch.randn(256, 16, generator=generator).mul_(0.1).requires_grad_()
    output = torch.randn(16, 256, generator=generator).mul_(0.1).requires_grad_()
    optimizer = torch.optim.SGD([embedding, output], lr=1.0, momentum=0.9)
    losses = []
    for rate in rates:
        places = torch.randint(len(text) - 1, (128,), generator=generator)
        loss = torch.nn.functional.cross_entropy(embedding[text[places]] @ output, text[places + 1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        losses.append(loss.item())
    torch.set_num_threads(threads)
    return metrics(losses)


def test_a_rise_begins_and_ends_where_the_loss_does() -> None:
    found = rises(metrics(noisy(3, 100) + noisy(4, 40) + noisy(3, 100)))
    assert len(found) == 1
    assert 101 <= found[0].first_step <= 101 + RECENT // 2 + 1
    assert 140 <= found[0].last_step <= 140 + RECENT // 2 + 1
    assert found[0].usual == pytest.approx(3, abs=0.05)
    assert found[0].highest == pytest.approx(4, abs=0.1)
    assert (found[0].first_tokens, found[0].last_tokens) == (10 * found[0].first_step, 10 * found[0].last_step)


def test_a_loss_that_stays_up_is_risen_to_the_end() -> None:
    """The window stays where it was, or the new level would soon be the usual one."""
    (rise,) = rises(metrics(noisy(3, 100) + noisy(4, 300)))
    assert rise.last_step == 400


def test_noise_a_fall_and_a_spike_are_no_rise() -> None:
    assert rises(metrics(noisy(3, 5000))) == []
    assert rises(metrics([loss - step / 100 for step, loss in enumerate(noisy(9, 500))])) == []
    assert rises(metrics(noisy(3, 100) + [9.0] * (RECENT // 2) + noisy(3, 100))) == []


def test_a_phase_begins_anew() -> None:
    assert rises(metrics(noisy(3, 100)) + metrics(noisy(5, 100), "continued", 101)) == []
    assert rises(metrics(noisy(3, 40) + noisy(5, BEFORE - 40 - RECENT // 2))) == []  # too few to say what is usual
    (rise,) = rises(metrics(noisy(3, 100)) + metrics(noisy(5, 100) + noisy(7, 20), "continued", 101))
    assert rise.phase == "continued"


def test_told_once_while_training() -> None:
    watch = LossWatch()
    begun = [record["step"] for record in metrics(noisy(3, 100) + noisy(4, 40) + noisy(3, 100)) if watch.add(record)]
    assert begun == [rise.first_step for rise in rises(metrics(noisy(3, 100) + noisy(4, 40) + noisy(3, 100)))]


def test_a_real_curve_at_a_good_rate_never_rises() -> None:
    records = trained([2.0] * 400)
    assert records[-1]["loss"] < records[0]["loss"] - 2
    assert rises(records) == []


def test_a_real_curve_rises_where_its_rate_is_made_too_high() -> None:
    (rise, *_) = rises(trained([2.0] * 200 + [100.0] * 100))
    assert 201 < rise.first_step < 215
    assert rise.highest > rise.usual + 0.5


def held_out(*losses: float) -> list[dict[str, Any]]:
    return [{"step": step, "losses": {"C": loss + 1, "Python": loss - 1}} for step, loss in enumerate(losses, 1)]


def scores(*shares: float, n: int = 164, first: int = 1) -> list[dict[str, Any]]:
    return [
        {"step": step, "tokens": 10 * step, "benchmark": "humaneval", "status": "done", "pass_at_1": share, "n": n}
        for step, share in enumerate(shares, first)
    ]


def test_loss_and_score_part_where_both_fall_or_both_rise() -> None:
    found = partings(held_out(4.0, 3.0, 2.5, 2.6, 2.6), scores(0.1, 0.3, 0.1, 0.3, 0.1))
    assert [(one.first_step, one.last_step, one.first_tokens, one.last_tokens) for one in found] == [(2, 3, 20, 30), (3, 4, 30, 40)]
    assert [(round(one.loss_change, 3), round(one.score_change, 3)) for one in found] == [(-0.5, -0.2), (0.1, 0.2)]
    assert str(found[0]) == "steps 2 to 3: held-out loss fell by 0.5000, humaneval pass@1 fell by 20.0 points"


def test_one_problem_more_or_less_may_be_chance() -> None:
    """Of 164 problems at 10 to 18 %, less than 7.5 points (1.96 x sqrt(2 x 0.14 x 0.86 / 164)); of 1,640 less than 2.3."""
    for n, change, chance in ((164, 0.07, True), (164, 0.08, False), (1640, 0.03, False), (3, 0.1, True)):
        (found,) = partings(held_out(4.0, 3.0), scores(0.1 + change, 0.1, n=n))
        assert found.within_chance == chance, (n, change)
    assert str(found).endswith("(within chance for so few problems)")


def test_only_steps_at_which_both_were_measured_count() -> None:
    assert partings(held_out(4.0, 3.0), scores(0.3, 0.1, first=2)) == []
    lines = scores(0.3, 0.2, 0.1)
    del lines[1]
    (found,) = partings(held_out(4.0, 5.0, 3.0), lines)
    assert (found.first_step, found.last_step) == (1, 3)
    assert partings([], lines) == partings(held_out(4.0, 3.0), []) == []


def test_what_was_not_done_is_no_score_and_a_later_line_counts() -> None:
    failed = scores(0.0)[0] | {"status": "failed", "pass_at_1": None, "n": 0}
    assert newest_scores([failed]) == {}
    assert [record["pass_at_1"] for record in newest_scores([*scores(0.1), failed, *scores(0.4)])["humaneval"]] == [0.4]
