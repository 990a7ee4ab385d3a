# SPDX-License-Identifier: Apache-2.0
"""Many guests at once on a host that gives little: they come together, the server is killed under them, they come back
together; nobody meets a time limit, one that is there is answered meanwhile, idle engines leave. The whole
of it, with figures: tests/scale/run."""
import resource
import threading

from crowd import Crowd, make_instances
from rig import Rig, check, wait_until

INSTANCES, GUESTS, IDLE_S = 400, 300, 2  # more than may have an open handshake
FEW = 300  # descriptors
EXTEND = bytes.fromhex("00c1000000220000001400000010" + "5a" * 20)


def engines(rig):
    return rig.ctl_json("status")["status"]["engines"]


def coming(rig, crowd, witness, what, come):
    """`come` while another guest goes on."""
    answers, over = [], threading.Event()

    def ask():
        while not over.is_set():
            answers.append(witness.one(0, EXTEND))
    thread = threading.Thread(target=ask)
    thread.start()
    come()
    over.set()
    thread.join()
    crowd.run(EXTEND)
    check(len(answers) > 1, "%s: one that was there was answered %d times meanwhile" % (what, len(answers)))


def storm(rig, everybody):
    mark = len(rig.server.text())
    rig.server.kill9()
    for crowd in everybody:
        crowd.ask("lost", "lost")
    rig.start_server("--idle-timeout", str(IDLE_S))
    for crowd in everybody:
        crowd.ask("back", "back")
        crowd.run(EXTEND)
    text = rig.server.text()[mark:]
    check("too long" not in text, "a storm of %d: all are back, and no handshake met its time limit" % GUESTS)


def few_descriptors(rig):
    """The limit is named at the start. Not undone: this process and what it starts have no more from here on."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW))
    rig.start_server()
    check("at most 64 channels at once, since this process may have %d descriptors" % FEW in rig.server.text() and
          "LimitNOFILE=" in rig.server.text(), "a low limit of descriptors is named, and what raises it")


def main():
    with Rig() as rig:
        rig.init()
        rig.start_server("--idle-timeout", str(IDLE_S))
        make_instances(rig.admin, INSTANCES, rig.path("list"))
        with open(rig.path("list")) as f:
            lines = f.readlines()
        with open(rig.path("one"), "w") as f:
            f.write(lines[GUESTS])
        crowd, witness = Crowd(rig.listen, rig.path("list")), Crowd(rig.listen, rig.path("one"))
        witness.attach(1)
        coming(rig, crowd, witness, "%d newcomers" % GUESTS, lambda: crowd.attach(GUESTS))
        storm(rig, [crowd, witness])
        wait_until(lambda: engines(rig) == 0, "idle engines leave")
        check(rig.ctl_json("status")["status"]["channels"] == GUESTS + 1, "and their guests stay connected")
        crowd.run(EXTEND)
        check(engines(rig) > 0, "the next command brings them back")
        crowd.close()
        witness.close()
        check(rig.server.stop() == 0, "the server stops in order")
        few_descriptors(rig)


main()
