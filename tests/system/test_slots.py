from __future__ import annotations

import os

import pytest

from orbitd.rules.states import Activity
from orbitd.system.slots import MAX_LANES, MAX_SLOTS, Held, SharedSlots, SlotMemory, Will


def test_what_one_process_writes_another_reads(slots: SharedSlots) -> None:
    pid = os.fork()
    if pid == 0:
        slots.header.host_id = 7
        record = slots.records[3]
        record.pipeline, record.run_id, record.run_deadline = "invoice.sync", 2**52, 1234.5
        record.set_activity(Activity.BUSY, 99.0)
        slots.claims[3].ask(2**62, [5, 6])
        os._exit(0)
    os.waitpid(pid, 0)
    record = slots.records[3]
    assert (slots.header.host_id, record.pipeline, record.run_id, record.run_deadline) == (7, "invoice.sync", 2**52, 1234.5)
    assert (record.read_activity(), record.since) == (Activity.BUSY, 99.0)
    assert slots.claims[3].read().asked_token == 2**62


def test_another_process_s_memory_is_read_and_cannot_be_written(slots: SharedSlots) -> None:
    slots.records[3].pid, slots.records[3].pipeline = 4711, "invoice.sync"
    read = SlotMemory.of_process(os.getpid())
    assert read is not None
    assert (read.records[3].pid, read.records[3].pipeline) == (4711, "invoice.sync")
    with pytest.raises(TypeError, match="read-only"):
        read.records[3].pid = 1


def test_memory_of_another_layout_is_not_read(slots: SharedSlots) -> None:
    slots.header.layout += 1
    assert SlotMemory.of_process(os.getpid()) is None
    assert SlotMemory.of_process(os.getppid()) is None, "a process without any"


def test_neighbouring_slots_do_not_touch(slots: SharedSlots) -> None:
    for index in range(MAX_SLOTS):
        slots.records[index].run_id = index
        slots.records[index].pipeline = "x" * 500
        slots.claims[index].ask(index + 1, range(MAX_LANES))
        slots.claims[index].hold([(1, 2, index, 4)])
    for index in range(MAX_SLOTS):
        assert slots.records[index].run_id == index
        assert len(slots.records[index].pipeline) == 120
        assert slots.claims[index].read().asked_token == index + 1
        assert slots.claims[index].read().held == (Held(1, 2, index, 4, begun=False),)


def test_the_will_tells_what_is_held_and_what_was_asked(slots: SharedSlots) -> None:
    page = slots.claims[0]
    assert page.read() == Will((), 0, ())
    page.ask(11, [1, 2])
    page.hold([(1, 20, 300, 11)])
    page.settle()
    assert page.read().held == (Held(1, 20, 300, 11, begun=False),)
    assert page.read().asked_lanes == ()
    page.begin(0)
    page.ask(12, [1])
    will = page.read()
    assert (will.held[0].begun, will.asked_token, will.asked_lanes) == (True, 12, (1,))
    page.let_all_go()
    assert page.read().held == ()
    page.hold([(1, 21, 301, 12)])
    assert not page.read().held[0].begun


def test_a_cleared_slot_remembers_nothing(slots: SharedSlots) -> None:
    slots.records[0].run_id = 5
    slots.claims[0].hold([(1, 2, 3, 4)])
    os.write(slots.stacks[0], b"Fatal Python error")
    assert slots.stack(0).read() == "Fatal Python error"
    slots.clear(0)
    assert slots.records[0].run_id == 0
    assert slots.claims[0].read().held == ()
    assert slots.stack(0).read() == ""


def test_a_bell_that_is_rung_twice_rings_once(slots: SharedSlots) -> None:
    slots.ring(2)
    slots.ring(2)
    assert os.eventfd_read(slots.bells[2]) == 2
    with pytest.raises(BlockingIOError):
        os.eventfd_read(slots.bells[2])


def test_its_descriptors_reach_no_program_by_accident(slots: SharedSlots) -> None:
    assert not any(os.get_inheritable(fd) for fd in slots.fds)
