"""The harness's watch sees what blocks the event loop, and waiting runs a real loop."""

from __future__ import annotations

import time

import pytest


@pytest.fixture
def event_loop(medsegai):
    from harness import event_loop

    return event_loop


def test_an_idle_event_loop_has_no_gap_of_a_slot(event_loop):
    with event_loop.Watch() as watch:
        event_loop.run_for(0.3)
    assert watch.ticks > 5
    assert not any(gap.ran("idle_slot") for gap in watch.gaps)


def test_a_slot_that_sleeps_is_found_with_its_name(event_loop):
    import qt

    def sleepy_slot():
        time.sleep(0.12)

    with event_loop.Watch(limit_ms=50) as watch:
        qt.QTimer.singleShot(30, sleepy_slot)
        event_loop.run_for(0.3)
    assert watch.longest_ms >= 115
    (gap,) = [gap for gap in watch.gaps if gap.ran("sleepy_slot")]
    assert gap.ms >= 115
    assert gap.cpu_ms < 60
    assert "sleepy_slot" in watch.report()
    assert watch.longest_ms_without("sleepy_slot") < gap.ms


def test_a_call_that_blocks_before_the_loop_runs_counts(event_loop):
    with event_loop.Watch() as watch:
        time.sleep(0.08)
        event_loop.run_for(0.02)
    assert watch.longest_ms >= 80


def test_a_slot_that_computes_is_told_from_one_that_waits(event_loop):
    import qt

    def busy_slot():
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass

    with event_loop.Watch() as watch:
        qt.QTimer.singleShot(0, busy_slot)
        event_loop.run_for(0.15)
    (gap,) = [gap for gap in watch.gaps if gap.ran("busy_slot")]
    assert gap.cpu_ms >= 95


def test_waiting_ends_when_the_condition_holds(event_loop):
    import qt

    done = []
    qt.QTimer.singleShot(20, lambda: done.append(1))
    event_loop.wait_until(lambda: done, 5)
    assert done


def test_waiting_in_vain_fails(event_loop):
    with pytest.raises(AssertionError, match="0.05 s in vain"):
        event_loop.wait_until(lambda: False, 0.05)


def test_what_the_condition_raises_is_passed_on(event_loop):
    with pytest.raises(ZeroDivisionError):
        event_loop.wait_until(lambda: 1 / 0, 5)


def test_waiting_ends_when_a_slot_raises(event_loop):
    import qt

    from harness import application

    qt.QTimer.singleShot(0, lambda: [][1])
    with pytest.raises(AssertionError, match="IndexError"):
        event_loop.wait_until(lambda: False, 5)
    assert [type(error) for error in application.failures] == [IndexError]
    application.failures.clear()
