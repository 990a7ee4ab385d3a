# SPDX-License-Identifier: Apache-2.0
"""More instances than one answer of the server holds: vtpmctl shows them all, in both forms, as one list."""
from crowd import make_instances
from rig import Rig, check

PAGE = 1000  # LIST_MAX in server/core/admin/instance.c
MANY = PAGE + 5


def main():
    with Rig() as rig:
        rig.init()
        rig.start_server()
        make_instances(rig.admin, MANY, rig.path("list"))
        names = ["g%05d" % k for k in range(MANY)]
        rows = rig.ctl_json("instance", "list")["instances"]
        check([row["name"] for row in rows] == names, "--json: one list of %d instances, by name" % MANY)
        lines = rig.ctl("instance", "list").stdout.splitlines()
        check(lines[0].split()[0] == "UUID" and [line.split()[1] for line in lines[1:]] == names,
              "for a person: one heading, %d lines" % MANY)
        check(rig.ctl_json("status")["status"]["instances"] == MANY, "status counts them")


main()
