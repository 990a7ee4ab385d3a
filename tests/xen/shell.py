#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A dom0 to play with: `up` boots one and stays in the foreground; the others speak to it from another shell.

  shell.py up DIR [--bin BUILD/bin]   builds the image anew with the programs of BIN (default build/release/bin), boots;
                                      DIR (new) gets the image, console.log and the socket that the other verbs use
  shell.py host DIR [NAME ...]        a store, the server, the shim, and a guest with a vTPM for each NAME
  shell.py run DIR COMMAND            in dom0; prints the output, exits with the status
  shell.py guest DIR NAME COMMAND     in a guest
  shell.py put DIR FILE PATH          a file into dom0 (a program that was built again)
  shell.py down DIR
--limit SECONDS before the verb: for one command (60).
"""
import argparse
import base64
import os
import socketserver
import socket
import json
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def image(folder, bin_dir):
    helpers = os.path.join(bin_dir, "../tests/xen")
    if not os.path.exists(helpers):
        helpers = os.path.join(ROOT, "build/release/tests/xen")
    subprocess.run([sys.executable, os.path.join(HERE, "image.py"), "--bin", bin_dir, "--helpers", helpers,
                    "--out", os.path.join(folder, "image")], check=True)


def up(folder, bin_dir):
    os.makedirs(folder, exist_ok=True)
    image(folder, bin_dir)
    os.environ["VTPM_XEN_IMAGE"] = os.path.join(folder, "image")
    import host
    bed = host.Host()
    bed.console = os.path.join(folder, "console.log")

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            verb, *rest = json.loads(self.rfile.readline())
            if verb == "down":
                threading.Thread(target=server.shutdown).start()
                answer = 0, ""
            else:
                answer = serve(bed, verb, rest)
            self.wfile.write(json.dumps(answer).encode())

    path = os.path.join(folder, "socket")
    if os.path.exists(path):
        os.unlink(path)
    with bed, socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        bed.boot()
        print("shell.py run %s COMMAND" % folder, flush=True)
        server.serve_forever()


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
    return call(folder, "run", 60, "chmod %o %s.new && mv %s.new %s" % (os.stat(path).st_mode & 0o777, target, target,
                                                                    target))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--limit", type=int, default=60)
    p.add_argument("--bin", default=os.path.join(ROOT, "build/release/bin"))
    p.add_argument("verb", choices="up host run guest put down".split())
    p.add_argument("dir")
    p.add_argument("words", nargs="*")
    a = p.parse_args()
    if a.verb == "up":
        return up(a.dir, a.bin)
    if a.verb == "put":
        status, out = put(a.dir, *a.words)
    elif a.verb in ("run", "guest"):
        status, out = call(a.dir, a.verb, a.limit, *a.words)
    else:
        status, out = call(a.dir, a.verb, *a.words)
    sys.stdout.write(out)
    return status


if __name__ == "__main__":
    sys.exit(main())
