"""Chaos: what people and releases do at moments of the seed, under its weather."""

from __future__ import annotations

import msgspec

from pipeline.simulate import checks, operators
from pipeline.simulate.files import draw_file
from pipeline.simulate.world import Dropped, World


def play(world: World, tasks: int) -> None:
    """Drops, releases and operators at moments of the seed, under its weather."""
    random = world.random
    length = random.choice((200.0, 600.0, 1500.0))
    acts: list[tuple[float, str]] = []
    files = random.randint(1, 4)
    acts += [(random.random() * length / 2, "drop") for _ in range(files)]
    acts += [(random.random() * length, "repeat") for _ in range(random.randint(0, 3))]
    acts += [(random.random() * length, "storm") for _ in range(random.choice((0, 0, 1, 2)))]
    acts += [(random.random() * length / 2, "replace") for _ in range(random.choice((0, 1)))]
    acts += [(random.random() * length, "deploy") for _ in range(random.randint(0, 3))]
    acts += [(random.random() * length, "control") for _ in range(random.choice((0, 0, 2, 4)))]
    acts += [(random.random() * length, "mend") for _ in range(random.choice((0, 0, 2, 6, 20)))]
    acts.sort()
    began = world.timeline.now
    for at, act in [*acts, (length, "end")]:
        world.timeline.sleep(began + at - world.timeline.now)
        checks.check_pending(world)
        if act == "drop":
            _drop(world, tasks // files)
        elif act == "repeat" and world.drops:
            _repeat(world)
        elif act == "replace":
            _replace_list(world, tasks // files)
        elif act == "storm":
            _storm(world)
        elif act == "deploy":
            world.deploy()
        elif act == "control":
            operators.control(world)
        elif act == "mend":
            # Beside the director: another one may mend at the same time.
            world.timeline.spawn("mender", lambda: operators.mend(world))


def _drop(world: World, tasks: int) -> None:
    """Somebody drops a file, sometimes in the place of an earlier one."""
    random, number = world.random, len(world.drops) + 1
    replaced = [one.file.key for one in world.drops if one.file.way == "event" and one.file.versioned]
    key = random.choice(replaced) if replaced and random.random() < 0.2 else ""
    file = draw_file(random, number, tasks, key)
    version = ""
    if file.way != "message":
        version = world.bucket.write(file.key, file.body)
    event = file.event(version)
    run_id = file.run_id(version)
    dropped = Dropped(file, run_id, event)
    world.drops.append(dropped)
    world.faults.note("director", "drops", f"{file.key} {run_id}")
    send(world, dropped)


def _replace_list(world: World, tasks: int) -> None:
    """A list that a schedule drops is written anew: before or after its run was frozen, or in between."""
    lists = [one.file for one in world.drops if one.file.way == "schedule"]
    if lists:
        old = world.random.choice(lists)
        new = draw_file(world.random, 90 + len(world.replaced), tasks, old.key)
        world.replaced[old.key, world.bucket.write(old.key, new.body)] = new
        world.faults.note("director", "replaces", old.key)


def _repeat(world: World) -> None:
    """An event once more, or one notification of several files."""
    records = [record for one in world.drops for record in msgspec.json.decode(one.event).get("Records", ())]
    if len(records) > 1 and world.random.random() < 0.5:
        ignored = {**records[0], "eventName": "ObjectRemoved:Delete"}
        body = msgspec.json.encode({"Records": [ignored, *records]})
        world.mail.put(operators.QUEUES[0], [body])
        return
    send(world, world.random.choice(world.drops))


def _storm(world: World) -> None:
    """A minute or two in which nearly everything dies, or nothing answers."""
    weather = world.faults.weather
    worse = {"kill": 0.2} if world.random.random() < 0.5 else {"throttle": 0.7}
    world.faults.note("director", "storm", str(worse))
    world.faults.weather = msgspec.structs.replace(weather, **worse)
    world.timeline.sleep(world.random.random() * 200.0)
    world.faults.weather = weather


def send(world: World, dropped: Dropped) -> None:
    """Have the event of a file delivered."""
    world.mail.put(operators.QUEUES[0], [dropped.event])
