"""Signals: SIGTERM as an interrupt, and interrupts that wait for what must not be cut in two."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from megatron_snow.common.processes import interrupted_by_sigterm, interrupts_deferred


def test_sigterm_is_an_interrupt_within_and_what_it_was_after() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupted_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_the_end_of_the_block(number: int) -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), interrupted_by_sigterm():
        with interrupts_deferred():
            os.kill(os.getpid(), number)
            reached = True
        raise AssertionError("not reached")
    assert reached


def test_no_interrupt_no_end() -> None:
    with interrupts_deferred():
        pass


def test_other_threads_leave_signals_alone() -> None:
    seen: list[object] = []

    def look() -> None:
        with interrupted_by_sigterm(), interrupts_deferred():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
