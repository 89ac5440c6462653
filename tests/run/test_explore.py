"""Plans grow from their seed, hit who is there, and shrink to the fault that matters."""

import errno

import pytest

from run.ends import Pair
from timewait.base.errors import UsageError
from timewait.base.instant import SEC
from timewait.record.entries import Noted
from timewait.run.case import Case, Planned
from timewait.run.explore import MENU, describe, menu, plan, schedule, weaker
from timewait.run.net import EPOCH, Net
from timewait.run.shrink import Shrinker, simpler


def notes(pair):
    return [entry.text for entry in pair.record if isinstance(entry, Noted)]


def test_plans_are_those_of_their_seed():
    assert plan(7, "all") == plan(7, "all")
    assert len({plan(seed, "all") for seed in range(50)}) == 50
    for seed in range(200):
        faults = plan(seed, "network", within=3000, most=4)
        assert 1 <= len(faults) <= 4
        assert all(0 <= fault.at < 3000 and fault.lasting >= 100 for fault in faults)
        assert {fault.verb for fault in faults} <= set(menu("network"))


def test_every_verb_is_drawn_some_time():
    assert {fault.verb for seed in range(300) for fault in plan(seed, "all")} == set(MENU)


def test_menus():
    assert menu(("lossy", "crash")) == ["lossy", "crash"]
    assert set(menu("network")) | set(menu("process")) == set(menu("all")) == set(MENU)
    with pytest.raises(UsageError, match="no fault 'earthquake'; there are all, network, process, slow"):
        menu("earthquake")


@pytest.mark.parametrize("verb", [verb for verb, dish in MENU.items() if dish.group == "network"])
@pytest.mark.parametrize("switch", [False, True])
def test_network_verbs_happen_and_end(verb, switch):
    pair = Pair(switch=switch)
    schedule(pair.verbs, (Planned(verb, 1000, 500, MENU[verb].values[-1], 999, 0),))
    pair.run(1.2)
    assert len(pair.verbs.acts) == 1
    pair.run(1)
    assert pair.verbs.acts == [] and len(notes(pair)) == 2
    assert all(pipe.plain for link in pair.world.links.values() for pipe in link.directions(None))


def test_machines_reboot_and_listeners_fill_up():
    pair = Pair()
    pair.listen()
    schedule(pair.verbs, (Planned("fill_accept_queue", 0, 500, 0.0, 999, 0), Planned("reboot", 1000, 700, 0.0, 999, 0)))
    pair.run(1.2)
    assert not pair.server.up
    pair.run(1)
    assert pair.server.up
    assert notes(pair) == [
        "accept queue of server:80 full",
        "end of: accept queue of server:80 full",
        "server power off",
        "end of: server power off",
    ]


def test_a_fault_that_finds_nobody_says_so():
    pair = Pair()
    schedule(pair.verbs, (Planned("crash", 0, 500, 0.0, 0, 0),))
    pair.run(1)
    assert notes(pair) == ["nobody to crash"]


def test_shrinking_finds_the_one_fault_that_matters():
    tried = []

    def fails(case):
        tried.append(case)
        return any(fault.verb == "lossy" and fault.value >= 0.2 and fault.lasting >= 300 for fault in case.faults)

    start = next(
        Case(seed, faults)
        for seed in range(1000)
        if len(faults := plan(seed, "network")) == 5 and fails(Case(seed, faults))
    )
    tried.clear()
    found = Shrinker(start, fails).run()
    [fault] = found.faults
    assert found.seed == 0
    assert (fault.verb, fault.at, fault.value) == ("lossy", 0, 0.2)
    assert 300 <= fault.lasting < 1000
    assert len(tried) == len(set(tried)) <= 100


def test_shrinking_keeps_two_faults_that_need_each_other_and_its_budget():
    def fails(case):
        return {"slow", "unplug"} <= {fault.verb for fault in case.faults}

    faults = tuple(Planned(verb, 1234, 4321, MENU[verb].values[-1], 5, 5) for verb in menu("network"))
    search = Shrinker(Case(9, faults), fails)
    assert {fault.verb for fault in search.run().faults} == {"slow", "unplug"}
    never = Shrinker(Case(9, faults), lambda case: False, budget=7)
    assert never.run() == Case(9, faults) and never.runs == 7


def test_simpler_steps_end():
    for seed in range(20):
        for fault in plan(seed, "all"):
            steps = 0
            while following := list(simpler(fault)):
                fault = following[0]
                steps += 1
            assert (steps < 40 and fault.at == 0 and fault.lasting <= 100) or fault.lasting == 100


def test_words():
    assert describe(Planned("lossy", 1500, 2000, 0.3, 0, 0)) == "at 1.5 s lossy 30 % for 2 s"
    assert describe(Planned("crash", 0, 2000, 0.0, 0, 0)) == "at 0 s crash"
    assert weaker("throttle", 64.0) == 256.0 and weaker("throttle", 1000.0) == 1000.0


def ticking(net, restart=False):
    """A host whose program notes each second of its wall clock."""
    ticks = []

    def program():
        import time

        while True:
            ticks.append((round(net.now), round(time.time()) - EPOCH // SEC))
            time.sleep(1)

    net.host("a")
    return ticks, net.host("b").run(program, daemon=True, restart=restart)


@pytest.mark.parametrize(
    ("verb", "value", "expected"),
    [
        ("freeze", 0.0, [0, 1, 2, 5, 6]),
        ("crash", 0.0, [0, 1, 2]),
        ("reboot", 0.0, [0, 1, 2, 5, 6]),
        ("shift_clock", 60.0, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_process_verbs_happen_to_programs(verb, value, expected):
    with Net(seed=1) as net:
        ticks, _ = ticking(net, restart=True)
        schedule(net, (Planned(verb, 2500, 2600, value, 999, 0),))
        net.wire()
        net.run(6.7)
        # A program that was stopped, or begins anew, ticks from where the stop ended.
        assert [second for second, _ in ticks] == expected
        shifted = {wall - second for second, wall in ticks}
        assert shifted == ({0, 60} if verb == "shift_clock" else {0})
        assert net.acts == []


def test_exhausted_descriptors_and_ports_meet_programs():
    with Net(seed=1) as net:
        found = []

        def program():
            import socket
            import time

            for _ in range(3):
                try:
                    socket.socket().close()
                    found.append(0)
                except OSError as error:
                    found.append(error.errno)
                time.sleep(1)

        net.host("b")
        net.host("a").run(program)
        schedule(net, (Planned("exhaust_fds", 500, 1000, 0.0, 999, 0),))
        net.run()
        assert found == [0, errno.EMFILE, 0]
