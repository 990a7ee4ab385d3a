#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A machine that stays up: for people to play with, and for scenarios that follow one another without a boot between.

  shell.py up DIR                  boots; DIR (new) gets the image, console.log and the socket that the other verbs use
    --bin BUILD/bin                the programs of its image (default build/release/bin)
    --image DIR                    an image that is there already
    --background SECONDS           comes back when dom0 is up; the machine ends after so long without a command
  shell.py host DIR [NAME ...]     a store, the server, the shim, and a guest with a vTPM for each NAME
  shell.py run DIR COMMAND         in dom0; prints the output, exits with the status
  shell.py guest DIR NAME COMMAND  in a guest
  shell.py put DIR FILE PATH       a file into dom0 (a program that was built again)
  shell.py down DIR
--limit SECONDS: for one command (60).
"""
import argparse
import base64
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def make_image(folder, bin_dir):
    helpers = os.path.join(bin_dir, "../tests/xen")
    if not os.path.exists(helpers):
        helpers = os.path.join(ROOT, "build/release/tests/xen")
    subprocess.run([sys.executable, os.path.join(HERE, "image.py"), "--bin", bin_dir, "--helpers", helpers,
                    "--out", os.path.join(folder, "image")], check=True)
    return os.path.join(folder, "image")


class Server(socketserver.ThreadingUnixStreamServer):
    """One request a connection: a line of JSON there, a document of JSON back."""
    daemon_threads = True

    def __init__(self, path, bed, idle):
        super().__init__(path, Handler)
        self.bed, self.idle, self.last = bed, idle, time.monotonic()

    def service_actions(self):
        if self.idle and time.monotonic() - self.last > self.idle:
            self.end()

    def end(self):
        threading.Thread(target=self.shutdown).start()


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        verb, *rest = json.loads(self.rfile.readline())
        if verb == "down":
            self.server.end()
            answer = 0, ""
        else:
            answer = serve(self.server.bed, verb, rest)
        self.server.last = time.monotonic()
        self.wfile.write(json.dumps(answer).encode())


def serve(bed, verb, rest):
    try:
        if verb == "run":
            return bed.run(rest[1], rest[0])
        if verb == "guest":
            return bed.guest(rest[1], rest[2], rest[0])
        bed.init_store()
        bed.start_server()
        bed.start_shim()
        for name in rest:
            bed.create(name, bed.create_instance(name))
        return 0, ""
    except Exception as e:
        return 1, "%s\n" % e


def up(folder, bin_dir, image, idle):
    os.environ["VTPM_XEN_IMAGE"] = image or make_image(folder, bin_dir)
    os.environ.pop("VTPM_XEN_BED", None)
    import host
    with host.Host(console=os.path.join(folder, "console.log")) as bed:
        bed.boot()
        # Its name appears only now: who waits for the machine waits for it.
        with Server(os.path.join(folder, "socket"), bed, idle) as server:
            print("shell.py run %s COMMAND" % folder, flush=True)
            server.serve_forever()
    return 0


def in_background(folder, image, idle):
    log = os.path.join(folder, "log")
    with open(log, "wb") as f:
        p = subprocess.Popen([sys.executable, __file__, "up", folder, "--image", image, "--idle", str(idle)],
                             stdin=subprocess.DEVNULL, stdout=f, stderr=f, start_new_session=True)
    while p.poll() is None and not os.path.exists(os.path.join(folder, "socket")):
        time.sleep(0.2)
    with open(log, errors="replace") as f:
        print(f.read(), end="")
    return p.poll() or 0


def call(folder, *request):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(os.path.join(folder, "socket"))
        s.sendall(json.dumps(request).encode() + b"\n")
        with s.makefile() as f:
            return json.loads(f.read())


def put(folder, path, target):
    with open(path, "rb") as f:
        data = f.read()
    call(folder, "run", 60, "rm -f %s.new" % target)
    for at in range(0, len(data), 60000):
        part = base64.encodebytes(data[at:at + 60000]).decode()
        answer = call(folder, "run", 60, "base64 -d >>%s.new <<'END'\n%sEND" % (target, part))
        if answer[0]:
            return answer
    return call(folder, "run", 60, "chmod %o %s.new && mv %s.new %s" %
                (os.stat(path).st_mode & 0o777, target, target, target))


def down(folder):
    """Nobody there is as good."""
    try:
        return call(folder, "down")
    except OSError:
        return 0, ""


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--limit", type=int, default=60)
    p.add_argument("--bin", default=os.path.join(ROOT, "build/release/bin"))
    p.add_argument("--image")
    p.add_argument("--background", type=int)
    p.add_argument("--idle", type=int, default=0)
    p.add_argument("verb", choices="up host run guest put down".split())
    p.add_argument("dir")
    p.add_argument("words", nargs="*")
    a = p.parse_args()
    if a.verb == "up":
        os.makedirs(a.dir, exist_ok=True)
        if os.path.exists(os.path.join(a.dir, "socket")):
            os.unlink(os.path.join(a.dir, "socket"))
        if a.background:
            return in_background(a.dir, a.image or make_image(a.dir, a.bin), a.background)
        return up(a.dir, a.bin, a.image, a.idle)
    if a.verb == "put":
        status, out = put(a.dir, *a.words)
    elif a.verb == "down":
        status, out = down(a.dir)
    elif a.verb == "host":
        status, out = call(a.dir, a.verb, *a.words)
    else:
        status, out = call(a.dir, a.verb, a.limit, *a.words)
    sys.stdout.write(out)
    return status


if __name__ == "__main__":
    sys.exit(main())
