from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orbitd.system.channel import LARGEST_MESSAGE_BYTES, Channel, ChannelClosed

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = Channel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_message_arrives_whole_and_in_order(pair: Pair) -> None:
    ours, theirs = pair
    ours.send({"type": "one"})
    ours.send({"type": "two", "text": "\0 ü \ud800"})
    assert theirs.receive() == {"type": "one"}
    assert theirs.receive() == {"type": "two", "text": "\0 ü \ud800"}
    assert theirs.receive() is None


def test_a_descriptor_comes_with_its_message(pair: Pair) -> None:
    ours, theirs = pair
    reader, writer = os.pipe()
    ours.send({"type": "spawn"}, [writer])
    os.close(writer)
    message, fds = theirs.receive_with_fds()
    assert message == {"type": "spawn"}
    assert not os.get_inheritable(fds[0])
    os.write(fds[0], b"x")
    assert os.read(reader, 1) == b"x"
    os.close(fds[0])
    os.close(reader)


def test_the_end_of_the_other_side_is_noticed_both_ways(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(ChannelClosed):
        ours.receive()
    with pytest.raises(ChannelClosed):
        ours.send({"type": "drain"})


def test_what_has_no_room_waits_and_nothing_blocks(pair: Pair) -> None:
    ours, theirs = pair
    for number in range(900):
        ours.send({"number": number, "padding": "x" * 1000})
    received: list[int] = []
    while len(received) < 900:
        while message := theirs.receive():
            received.append(message["number"])
        ours.flush()
    assert received == list(range(900))


def test_a_side_that_never_reads_does_not_fill_our_memory(pair: Pair) -> None:
    ours, _ = pair

    def flood() -> None:
        for _ in range(10_000):
            ours.send({"padding": "x" * 1000})

    with pytest.raises(BufferError):
        flood()


def test_a_message_that_is_too_large_is_refused_before_it_is_sent(pair: Pair) -> None:
    ours, theirs = pair
    with pytest.raises(ValueError, match="larger than"):
        ours.send({"text": "x" * LARGEST_MESSAGE_BYTES})
    assert theirs.receive() is None


def test_a_long_message_arrives_whole_though_no_packet_holds_it(pair: Pair) -> None:
    ours, theirs = pair
    message = {"text": "ü" * 900_000}
    ours.send(message)
    ours.send({"type": "next"})
    received = None
    while received is None:
        received = theirs.receive()
        ours.flush()
    assert received == message
    assert theirs.receive() == {"type": "next"}
