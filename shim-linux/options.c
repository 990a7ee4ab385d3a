/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/options.h"

#include <getopt.h>

#include "proto/vtpm.pb-c.h"
#include "shim-linux/frontend.h"
#include "shim-linux/upstream.h"

static const char help[] =
    "usage: vtpm-shim --upstream U --credential FILE --frontend socket:...|swtpm:...|proxy [options]\n"
    "       vtpm-shim --upstream U --credential-dir DIR --frontend xen|proxy [options]\n"
    "\n"
    "Stands where a guest expects a TPM and forwards its commands to vtpm-server. It listens at once and\n"
    "holds commands while the server is away.\n"
    "\n"
    "  --upstream U       the server: unix:PATH, tcp:HOST:PORT or vchan:DOMID\n"
    "  --credential FILE  made by `vtpmctl instance create --credential-out`; mode 0600\n"
    "  --credential-dir DIR  xen: a file UUID.cred for each guest; one that is not there yet is waited for\n"
    "                     proxy: a device for each file UUID.cred, as files come and go\n"
    "  --frontend F       the guest: socket:tcp:ADDR:PORT (port 0: any), socket:unix:PATH, or xen: every guest\n"
    "                     whose configuration has vtpm=[\"backend=THIS-DOMAIN,uuid=UUID\"];\n"
    "                     for QEMU and libvirt, in swtpm's place: swtpm:ctrl=unix:PATH[,data=unix:PATH] or\n"
    "                     swtpm:ctrl=tcp:ADDR:PORT,data=tcp:ADDR:PORT; with ,not-need-init or ,startup-clear it is\n"
    "                     powered on (and started) when the shim starts, with ,terminate it ends with its monitor;\n"
    "                     proxy: a /dev/tpmN of this host by the kernel's tpm_vtpm_proxy, for a container\n"
    "  --startup WHAT     at power on: clear (default), state, or none: the guest sends TPM_Startup; not with\n"
    "                     swtpm, where the monitor powers on and firmware starts\n"
    "  --hold SECONDS     answer TPM_RETRY after so long without a server; default: wait without limit\n"
    "  --instance UUID    which instance, for a credential identity=host:NAME\n"
    "  --migrate-to PEER  swtpm: where the guest may be moved to, as `vtpmctl server peer list` calls it; default:\n"
    "                     the server's only peer\n"
    "  --migrate-state    swtpm: the sealed state itself goes along, for a target that cannot reach this server; the\n"
    "                     instance leaves when the monitor saves it, whatever comes of that\n"
    "  --device-link PATH  proxy: a symbolic link to the device; with --credential-dir, a directory of links UUID\n"
    "  --runtime-dir DIR  xen: what outlives a restart, on a tmpfs; default $RUNTIME_DIRECTORY or /run/vtpm-shim\n"
    "                     proxy: what udev is told; default $RUNTIME_DIRECTORY or /run/vtpm-shim-proxy\n"
    "  --help, --version\n"
    "\n"
    "Exit codes: 0 ok, 1 failure, 2 usage or configuration, 3 not found, 4 conflict (another program on the\n"
    "front end's address, or another shim took the instance over), 5 exists, 6 xenstore not reached,\n"
    "7 not permitted.\n"
    "IPv6 addresses stand in brackets. The line `vtpm-shim: ready` on stderr says that the front end accepts;\n"
    "with proxy and --credential it comes with the device, once the server has answered.\n";

static const struct option long_options[] = {
    {"upstream", required_argument, NULL, 'u'},   {"credential", required_argument, NULL, 'c'},
    {"frontend", required_argument, NULL, 'f'},   {"startup", required_argument, NULL, 's'},
    {"hold", required_argument, NULL, 'H'},       {"instance", required_argument, NULL, 'i'},
    {"runtime-dir", required_argument, NULL, 'r'}, {"credential-dir", required_argument, NULL, 'C'},
    {"migrate-to", required_argument, NULL, 'm'}, {"migrate-state", no_argument, NULL, 'S'},
    {"device-link", required_argument, NULL, 'l'},
    {"help", no_argument, NULL, 'h'},             {"version", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

static const struct {
    const char *word;
    int value;
} startups[] = {
    {"clear", VTPM__STARTUP__STARTUP_CLEAR},
    {"state", VTPM__STARTUP__STARTUP_STATE},
    {"none", VTPM__STARTUP__STARTUP_NONE},
};

const char *options_help(void)
{
    return help;
}

static int take_startup(struct options *options, const char *value, struct vt_why *why)
{
    for (size_t i = 0; i < VT_COUNT(startups); i++)
        if (strcmp(value, startups[i].word) == 0) {
            options->startup = startups[i].value;
            return VT_OK;
        }
    return vt_fail(why, VT_EUSAGE, "--startup %s: not clear, state or none", value);
}

static int take_hold(struct options *options, const char *value, struct vt_why *why)
{
    uint64_t seconds;

    if (!vt_parse_u64(&seconds, value, 31536000) || !seconds)
        return vt_fail(why, VT_EUSAGE, "--hold %s: not a number of seconds (1 to 31536000); leave it out to wait "
                       "without limit", value);
    options->hold_ms = seconds * 1000;
    return VT_OK;
}

static int take_option(struct options *options, enum options_then *then, int option, const char *value,
                       struct vt_why *why)
{
    switch (option) {
    case 'u':
        options->upstream = value;
        return VT_OK;
    case 'c':
        options->credential = value;
        return VT_OK;
    case 'f':
        options->frontend = value;
        return VT_OK;
    case 'r':
        options->runtime_dir = value;
        return VT_OK;
    case 'S':
        options->migrate_state = true;
        return VT_OK;
    case 'm':
        options->migrate_to = value;
        return strlen(value) <= 64 ? VT_OK : vt_fail(why, VT_EUSAGE, "--migrate-to %.80s: no peer has a name so long", value);
    case 's':
        return take_startup(options, value, why);
    case 'H':
        return take_hold(options, value, why);
    case 'i':
        options->has_instance = vt_uuid_parse(&options->instance, value);
        return options->has_instance ? VT_OK : vt_fail(why, VT_EUSAGE, "--instance %s: not a uuid", value);
    case 'l':
        options->device_link = value;
        return VT_OK;
    case 'C':
        options->credential_dir = value;
        return VT_OK;
    case 'h':
        *then = OPTIONS_HELP;
        return VT_OK;
    default:
        *then = OPTIONS_VERSION;
        return VT_OK;
    }
}

static int check_credential(const struct options *options, const struct frontend_kind *kind, struct vt_why *why)
{
    if (options->credential && options->credential_dir)
        return vt_fail(why, VT_EUSAGE, "--credential and --credential-dir: one of them");
    if (options->credential_dir && !kind->many)
        return vt_fail(why, VT_EUSAGE, "--credential-dir %s: --frontend %s serves one instance: use --credential FILE",
                       options->credential_dir, kind->scheme);
    if (options->device_link && strcmp(kind->scheme, "proxy") != 0)
        return vt_fail(why, VT_EUSAGE, "--device-link %s: --frontend %s makes no device", options->device_link, kind->scheme);
    if (options->has_instance && options->credential_dir && !kind->is_told)
        return vt_fail(why, VT_EUSAGE, "--instance: the files in --credential-dir say which instances are meant");
    if (options->has_instance && kind->is_told)
        return vt_fail(why, VT_EUSAGE, "--instance: --frontend %s knows from the toolstack which instance is meant",
                       kind->scheme);
    if (!options->credential && !options->credential_dir)
        return vt_fail(why, VT_EUSAGE, kind->many ? "--credential-dir is missing: name the directory with UUID.cred files, "
                                                    "or by --credential one file"
                                                  : "--credential is missing: name the file that vtpmctl made for the "
                                                    "instance");
    return VT_OK;
}

static int check_complete(const struct options *options, struct vt_why *why)
{
    const struct frontend_kind *kind;
    const char *rest;
    int err;

    if (!options->upstream)
        return vt_fail(why, VT_EUSAGE, "--upstream is missing: say where the server is, unix:PATH, tcp:HOST:PORT or vchan:DOMID");
    if (!options->frontend)
        return vt_fail(why, VT_EUSAGE, "--frontend is missing: say socket:tcp:ADDR:PORT, socket:unix:PATH, "
                       "swtpm:ctrl=unix:PATH, xen or proxy");
    /* What is not in this build is said before anything that would only be needed for it. */
    err = frontend_find(options->frontend, &kind, &rest, why);
    if (!err)
        err = upstream_check(options->upstream, why);
    return err ? err : check_credential(options, kind, why);
}

int options_read(struct options *options, enum options_then *then, int argc, char **argv, struct vt_why *why)
{
    int option, err;

    *options = (struct options){.startup = VTPM__STARTUP__STARTUP_CLEAR};
    *then = OPTIONS_RUN;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        if (option == '?')
            return vt_fail(why, VT_EUSAGE, "unknown option %s: see vtpm-shim --help", argv[optind - 1]);
        if (option == ':')
            return vt_fail(why, VT_EUSAGE, "%s needs a value: see vtpm-shim --help", argv[optind - 1]);
        err = take_option(options, then, option, optarg, why);
        if (err || *then != OPTIONS_RUN)
            return err;
    }
    if (optind < argc)
        return vt_fail(why, VT_EUSAGE, "\"%s\": no argument is taken without an option: see vtpm-shim --help",
                       argv[optind]);
    return check_complete(options, why);
}
