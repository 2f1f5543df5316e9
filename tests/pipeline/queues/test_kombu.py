"""What only servers can do wrong: refuse, forget, give to others, be misused by a neighbour."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import kombu
import pytest
import redis

from pipeline.errors import Misuse, QueueUnavailable
from pipeline.queues.kombu import KombuBroker
from pipeline.queues.protocol import Depth, Received
from tests.pipeline.queues.conftest import BRIEF, MAX_RECEIVES, Place
from tests.servers import free_port


def spoil(place: Place, queue: str) -> Callable[[], None]:
    """Make a queue refuse messages, as a neighbour's mistake would; gives what mends it."""
    if place.kind == "kombu-redis":
        client = redis.Redis.from_url(place.url)
        client.set(queue, "not a list")

        def mend() -> None:
            client.delete(queue)
            client.close()

        return mend
    connection = kombu.Connection(place.url)
    channel = connection.channel()
    channel.queue_declare(queue, durable=False, auto_delete=False)

    def mend_rabbit() -> None:
        channel.queue_delete(queue)
        connection.release()

    return mend_rabbit


def test_a_burial_that_fails_loses_nothing(server_place: Place):
    """The new place is written before the old one is given up."""
    queue = server_place.consumer(visibility=BRIEF)
    queue.send([b"bad"])
    (received,) = queue.receive(1, wait=5.0)
    mend = spoil(server_place, queue.dead().name)
    with pytest.raises(QueueUnavailable):
        queue.bury(received, reason="why")
    mend()
    (again,) = queue.receive(1, wait=5.0)
    assert again.body == b"bad"


def test_a_count_that_cannot_be_written_loses_nothing(server_place: Place):
    """The last receive is spent by a consumer that went away; the dead-letter queue refuses at first."""
    broker = server_place.broker(visibility=BRIEF)
    queue = broker.queue(server_place.name)
    queue.send([b"bad"])
    for _ in range(MAX_RECEIVES - 1):
        queue.release(queue.receive(1, wait=5.0)[0])
    (last,) = queue.receive(1, wait=5.0)
    assert last.receives == MAX_RECEIVES
    mend = spoil(server_place, queue.dead().name)
    broker.close()
    other = server_place.consumer(visibility=BRIEF)
    with pytest.raises(QueueUnavailable):
        other.receive(1, wait=5.0)
    mend()
    dead: list[Received] = []
    deadline = time.monotonic() + 5.0
    while not dead and time.monotonic() < deadline:
        assert other.receive(1, wait=0.1) == []
        dead = other.dead().receive(1, wait=0.0)
    assert [one.body for one in dead] == [b"bad"]


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_an_error_names_the_broker_and_no_credentials(scheme: str):
    port = free_port()
    queue = KombuBroker(f"{scheme}://agent:s3cret@127.0.0.1:{port}/0").queue("q")
    with pytest.raises(QueueUnavailable, match=rf"{scheme}://127\.0\.0\.1:{port}/0") as caught:
        queue.send([b"x"])
    assert "s3cret" not in str(caught.value)
    assert "agent" not in str(caught.value)


def test_a_refused_login_names_no_credentials(amqp_place: Place):
    queue = KombuBroker(amqp_place.url.replace("guest:guest", "guest:s3cret")).queue("q")
    with pytest.raises(QueueUnavailable, match="lets this user in") as caught:
        queue.depth()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["rediss", "amqps"])
def test_a_secure_url_is_never_spoken_in_the_clear(scheme: str):
    """The first thing the server sees is a TLS handshake, not a password."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard: list[bytes] = []

        def listen() -> None:
            line, _ = server.accept()
            with line:
                heard.append(line.recv(100))

        thread = threading.Thread(target=listen)
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(QueueUnavailable):
            KombuBroker(f"{scheme}://agent:s3cret@127.0.0.1:{port}/0").queue("q").depth()
        thread.join()
    assert heard[0][:2] == b"\x16\x03"


@pytest.mark.parametrize("url", ["sqs://", "amqp:// :x", "redis://u:p#word@h:1", "localhost"])
def test_a_url_of_no_broker_is_misuse(url: str):
    with pytest.raises(Misuse) as caught:
        KombuBroker(url)
    assert "word" not in str(caught.value).replace("password", "")


def test_redis_gives_away_what_is_held_too_long(redis_place: Place):
    """A late release then makes no second copy, and a late ack takes nothing from the other."""
    slow, other = redis_place.consumer(visibility=BRIEF), redis_place.consumer(visibility=BRIEF)
    slow.send([b"slow"])
    (late,) = slow.receive(1, wait=5.0)
    (again,) = other.receive(1, wait=5.0)
    assert (again.body, again.receives) == (b"slow", 2)
    slow.release(late)
    slow.ack(late)
    assert slow.depth() == Depth(0, 0)
    other.ack(again)
    assert other.receive(1, wait=3 * BRIEF) == []


def test_redis_keeps_text_as_text(redis_place: Place):
    """A body that is JSON is not blown up by a third."""
    body = '{"keywords": ["größe", "длина", "長さ"]}'.encode() * 100
    queue = redis_place.consumer()
    queue.send([body])
    with redis.Redis.from_url(redis_place.url) as client:
        assert len(client.lindex(queue.name, 0)) < 1.2 * len(body) + 400


def test_redis_sets_aside_what_is_no_message(redis_place: Place):
    """A stranger's item must not stop the queue for everybody behind it, and is not thrown away."""
    queue = redis_place.consumer()
    with redis.Redis.from_url(redis_place.url) as client:
        for strange in (b"\xff\x00", b"7", b'{"properties": 5}', b'{"properties": {"delivery_tag": []}}'):
            client.lpush(queue.name, strange)
        queue.send([b"ours"])
        assert [one.body for one in queue.receive(10, wait=5.0)] == [b"ours"]
        assert client.llen(f"{queue.name}.unreadable") == 4


def test_rabbitmq_does_not_confirm_what_it_cannot_place(amqp_place: Place):
    """A queue deleted by hand: the first send says so, the next one makes the queue anew."""
    queue = amqp_place.consumer()
    queue.send([b"1"])
    with kombu.Connection(amqp_place.url) as neighbour:
        neighbour.channel().queue_delete(queue.name)
    with pytest.raises(QueueUnavailable):
        queue.send([b"2"])
    queue.send([b"2"])
    assert [one.body for one in queue.receive(10, wait=5.0)] == [b"2"]


def test_rabbitmq_forgets_a_connection_not_a_message(amqp_place: Place):
    """Delivery numbers start anew on each connection: an old receipt must not settle a new delivery."""
    broker = amqp_place.broker()
    queue = broker.queue(amqp_place.name)
    queue.send([b"first"])
    (old,) = queue.receive(1, wait=5.0)
    with kombu.Connection(amqp_place.url) as neighbour:
        neighbour.channel().queue_delete(amqp_place.name)
    with pytest.raises(QueueUnavailable):
        queue.send([b"x"])  # closes this connection
    queue.send([b"second"])
    (new,) = queue.receive(1, wait=5.0)
    queue.ack(old)
    mend = spoil(amqp_place, f"{queue.name}-other")
    with pytest.raises(QueueUnavailable):
        broker.queue(f"{queue.name}-other").send([b"x"])  # and this one too
    mend()
    (again,) = queue.receive(1, wait=5.0)
    assert (new.body, again.body, again.receives) == (b"second", b"second", 2)
