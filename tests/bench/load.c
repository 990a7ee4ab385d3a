/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load generator of tests/bench/run: keeps groups of guests connected and lets them send commands, each the next one
 * as soon as it has the response to the last. tests/bench/load.py drives it, with a line of standard input each:
 *
 *   open GROUP raw|tls|vtpm ADDRESS [IDENTITY KEY]      one more guest of the group
 *   close GROUP
 *   recipe GROUP NAME ORDINAL HANDLES PARAMS [auth SECRET]... [osap TYPE ENTITY SECRET NEWSECRET] [vary AT]
 *          [take] [keep]
 *   prepare GUESTS NAME COUNT                           sessions ahead of time
 *   send GROUP HEX                                      the first guest's; answered `answer NANOSECONDS HEX`
 *   run MS COUNT GUESTS NAME[+NAME...] [GUESTS NAME ...]
 *
 * Bytes, ordinals and handles are hexadecimal (`-`: no bytes). GUESTS: GROUP[@FIRST][:COUNT]. `run` ends after MS or when
 * each guest of the first pair has sent COUNT commands (0: no end), and is answered with a line for each pair,
 * `ran COMMANDS NANOSECONDS CPU-NANOSECONDS SAMPLE...` (CPU: of this program; samples: nanoseconds of a command each).
 * Everything else is answered `ok`. What goes wrong ends the program, with the reason on standard error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "server/base/alloc.h"
#include "server/base/text.h"
#include "tests/bench/play.h"

#define GROUPS_MAX   2048
#define PAIRS_MAX    4
#define LINE_MAX_LEN (3 * LINK_MAX)

struct group {
    char name[32];
    struct recipes *recipes; /* both owned */
    struct guest **guests;
    unsigned count;
};

static struct group groups[GROUPS_MAX];
static unsigned group_count;

/* ---- Words of a line ---- */

static char *rest_of_line;

/* NULL: there is none. */
static char *maybe_word(void)
{
    return strtok_r(NULL, " ", &rest_of_line);
}

static char *word(void)
{
    char *w = maybe_word();

    if (!w)
        bench_fail("a line", "a word is missing");
    return w;
}

static size_t unhex_word(uint8_t *out, size_t cap, const char *text)
{
    size_t len = strcmp(text, "-") ? strlen(text) / 2 : 0;

    if (len > cap || (len && !vt_unhex(out, len, text)))
        bench_fail(text, "no hexadecimal digits, or too many");
    return len;
}

static void secret_word(struct vt_auth *secret)
{
    if (unhex_word(secret->bytes, sizeof secret->bytes, word()) != sizeof secret->bytes)
        bench_fail("a secret", "it has 20 bytes");
}

static unsigned number_word(int base)
{
    return (unsigned)strtoul(word(), NULL, base);
}

static struct group *find_group(const char *name)
{
    for (unsigned i = 0; i < group_count; i++)
        if (!strcmp(groups[i].name, name))
            return &groups[i];
    return NULL;
}

/* GROUP[@INDEX][:COUNT] */
static void find_guests(char *name, struct pair *pair)
{
    const char *index = strchr(name, '@'), *count = strchr(name, ':');
    unsigned from = index ? (unsigned)atoi(index + 1) : 0;
    struct group *group;

    name[strcspn(name, "@:")] = '\0';
    group = find_group(name);
    if (!group || from >= group->count)
        bench_fail(name, "there is no such group, or no such guest in it");
    pair->guests = group->guests + from;
    pair->recipes = group->recipes;
    pair->count = count ? VT_MIN((unsigned)atoi(count + 1), group->count - from) : group->count - from;
}

/* ---- Groups ---- */

static struct group *make_group(const char *name)
{
    struct group *group = find_group(name);

    if (group)
        return group;
    if (group_count == GROUPS_MAX)
        bench_fail(name, "too many groups");
    group = &groups[group_count++];
    snprintf(group->name, sizeof group->name, "%s", name);
    group->recipes = VT_NEW(struct recipes);
    if (!group->recipes)
        bench_fail(name, "no memory");
    return group;
}

static void do_open(void)
{
    static const char *const kinds[] = {[LINK_RAW] = "raw", [LINK_TLS] = "tls", [LINK_VTPM] = "vtpm"};
    struct group *group = make_group(word());
    const char *kind = word(), *address = word(), *identity = maybe_word(), *key = maybe_word();
    struct guest *guest = VT_NEW(struct guest);
    struct guest **grown = realloc(group->guests, (group->count + 1) * sizeof *grown);
    unsigned k = 0;

    while (k < VT_COUNT(kinds) && strcmp(kinds[k], kind))
        k++;
    if (k == VT_COUNT(kinds) || !guest || !grown)
        bench_fail(kind, "no such kind of link, or no memory");
    guest->recipes = group->recipes;
    group->guests = grown;
    group->guests[group->count++] = guest;
    link_open(&guest->link, (enum link_kind)k, address, identity, key);
}

static void do_close(void)
{
    const char *name = word();
    struct group *group = find_group(name);

    for (unsigned i = 0; group && i < group->count; i++) {
        link_close(&group->guests[i]->link);
        vt_free(group->guests[i]);
    }
    if (group)
        group->count = 0;
}

static void read_option(struct recipe *r, const char *option)
{
    if (!strcmp(option, "auth") && r->auths < VT_COUNT(r->secrets)) {
        secret_word(&r->secrets[r->auths++]);
    } else if (!strcmp(option, "osap")) {
        r->is_osap = true;
        r->entity_type = (uint16_t)number_word(16);
        r->entity = number_word(16);
        secret_word(&r->entity_secret);
        secret_word(&r->new_secret);
    } else if (!strcmp(option, "vary")) {
        r->varies = true;
        r->vary_at = number_word(10);
        if (r->vary_at + 4 > r->params_len)
            bench_fail(option, "there are no four bytes there");
    } else if (!strcmp(option, "take")) {
        r->takes_handle = true;
    } else if (!strcmp(option, "keep")) {
        r->keeps_handle = true;
    } else {
        bench_fail(option, "no such option of a recipe");
    }
}

static struct recipe *make_recipe(struct recipes *recipes, const char *name)
{
    unsigned i = 0;

    while (i < recipes->count && strcmp(recipes->rows[i].name, name))
        i++;
    if (i == RECIPES_MAX)
        bench_fail(name, "too many recipes");
    recipes->count = VT_MAX(recipes->count, i + 1);
    recipes->rows[i] = (struct recipe){.ordinal = 0};
    snprintf(recipes->rows[i].name, sizeof recipes->rows[i].name, "%s", name);
    return &recipes->rows[i];
}

static void do_recipe(void)
{
    struct group *group = make_group(word());
    struct recipe *r = make_recipe(group->recipes, word());
    const char *option;

    r->ordinal = number_word(16);
    r->handles_len = unhex_word(r->handles, sizeof r->handles, word());
    r->params_len = unhex_word(r->params, sizeof r->params, word());
    while ((option = maybe_word()))
        read_option(r, option);
}

static void do_prepare(void)
{
    struct pair pair;
    const struct recipe *recipe;
    unsigned count;

    find_guests(word(), &pair);
    recipe = recipes_find(pair.recipes, word());
    count = number_word(10);
    for (unsigned i = 0; i < pair.count; i++)
        guest_prepare(pair.guests[i], recipe, count);
}

static void do_send(void)
{
    static char hex[2 * LINK_MAX + 1];
    struct group *group = find_group(word());
    uint8_t command[LINK_MAX];
    size_t len = unhex_word(command, sizeof command, word());
    struct guest *guest;
    uint64_t ns;

    if (!group || !group->count)
        bench_fail("send", "there is no such group");
    guest = group->guests[0];
    ns = guest_send(guest, command, len);
    vt_hex(hex, guest->rsp, guest->rsp_len);
    printf("answer %llu %s\n", (unsigned long long)ns, hex);
}

/* ---- A run ---- */

static void read_pair(struct pair *pair, char *group)
{
    char *rest = NULL;

    pair->cycle_len = 0;
    find_guests(group, pair);
    for (char *name = strtok_r(word(), "+", &rest); name; name = strtok_r(NULL, "+", &rest)) {
        if (pair->cycle_len == CYCLE_MAX)
            bench_fail(name, "too many commands in turn");
        pair->cycle[pair->cycle_len++] = recipes_find(pair->recipes, name);
    }
}

static void print_pair(const struct pair *pair, const struct play_time *time)
{
    printf("ran %llu %llu %llu", (unsigned long long)pair->commands, (unsigned long long)time->ns,
           (unsigned long long)time->cpu_ns);
    for (size_t i = 0; i < pair->sample_count; i++)
        printf(" %llu", (unsigned long long)pair->samples[i]);
    printf("\n");
}

static void do_run(void)
{
    static struct pair pairs[PAIRS_MAX];
    struct play_time time;
    unsigned ms = number_word(10), count = number_word(10), n = 0;

    for (char *group = maybe_word(); group; group = maybe_word()) {
        if (n == PAIRS_MAX)
            bench_fail("run", "too many pairs of GROUP and NAME");
        read_pair(&pairs[n++], group);
    }
    if (!n)
        bench_fail("run", "no pair of GROUP and NAME");
    play(pairs, n, ms, count, &time);
    for (unsigned i = 0; i < n; i++)
        print_pair(&pairs[i], &time);
}

/* ---- */

static const struct verb {
    const char *name;
    void (*act)(void);
    bool answers;
} verbs[] = {
    {"open", do_open, false},       {"close", do_close, false}, {"recipe", do_recipe, false},
    {"prepare", do_prepare, false}, {"send", do_send, true},    {"run", do_run, true},
};

static void obey(char *line)
{
    const char *name = strtok_r(line, " ", &rest_of_line);

    for (size_t i = 0; name && i < VT_COUNT(verbs); i++) {
        if (strcmp(verbs[i].name, name))
            continue;
        verbs[i].act();
        if (!verbs[i].answers)
            printf("ok\n");
        fflush(stdout);
        return;
    }
    bench_fail(name ? name : "an empty line", "no such verb");
}

/* A thousand guests have as many descriptors. */
static void raise_limit(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(void)
{
    static char line[LINE_MAX_LEN];

    if (cr_init())
        bench_fail("cryptography", "it cannot be used");
    raise_limit();
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        obey(line);
    }
    return 0;
}
