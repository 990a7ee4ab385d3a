/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_vchan.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <xenstore.h>

#include "server/base/list.h"
#include "server/xen/site.h"
#include "server/xen/vchan.h"

/* One lock for all that is not a ring: the code under test must not need more than xenstored gives. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "fake xen: %s\n", what);
    abort();
}

/* ---- Which host ---- */

static char lock_file[64];
static int site_err;

void fake_site(int err)
{
    site_err = err;
}

int site_check(const char *root, enum site_use use, const char *option, struct vt_why *why)
{
    (void)root;
    (void)use;
    return site_err ? vt_fail(why, site_err, "%s: this host is not a Xen domain: /dev/xen/fake is missing", option) : VT_OK;
}

const char *site_lock_file(void)
{
    return lock_file;
}

/* ---- xenstore ---- */

#define PERMS_MAX 4

struct node {
    struct vt_list list;
    char *path, *value;
    struct xs_permissions perms[PERMS_MAX];
    unsigned perms_count;
};

struct xs_handle {
    struct vt_list list;
    unsigned domid;
    int fd;
    char watched[4][32];
    unsigned watched_count;
    char fired[64][32];
    unsigned fired_count;
};

static struct vt_list nodes = {&nodes, &nodes};
static struct vt_list handles = {&handles, &handles};
static pthread_cond_t awake = PTHREAD_COND_INITIALIZER;
static unsigned own_domid, waiting;
static bool is_hanging, is_dead;

static struct node *find(const char *path)
{
    VT_LIST_EACH(&nodes, at)
    {
        struct node *node = VT_LIST_ENTRY(at, struct node, list);
        if (!strcmp(node->path, path))
            return node;
    }
    return NULL;
}

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return !strncmp(path, dir, len) && path[len] == '/';
}

static unsigned perm_of(char letter)
{
    return letter == 'r' ? XS_PERM_READ : letter == 'w' ? XS_PERM_WRITE : letter == 'b' ? XS_PERM_READ | XS_PERM_WRITE
                                                                                        : XS_PERM_NONE;
}

static void set_perms(struct node *node, const char *text)
{
    node->perms_count = 0;
    while (text && *text) {
        char letter = *text++;
        char *end;
        struct xs_permissions *perms = &node->perms[node->perms_count++];

        check(node->perms_count <= PERMS_MAX, "too many permissions");
        *perms = (struct xs_permissions){.id = (unsigned)strtoul(text, &end, 10), .perms = perm_of(letter)};
        text = *end ? end + 1 : end;
    }
}

static struct node *make(const char *path, unsigned by)
{
    struct node *node = find(path), *parent;
    char dir[256];

    if (node)
        return node;
    snprintf(dir, sizeof dir, "%s", path);
    *strrchr(dir, '/') = '\0';
    parent = *dir ? make(dir, by) : NULL;
    node = calloc(1, sizeof *node);
    node->path = strdup(path);
    node->value = strdup("");
    if (parent) {
        memcpy(node->perms, parent->perms, sizeof node->perms);
        node->perms_count = parent->perms_count;
        node->perms[0].id = by ? by : parent->perms[0].id;
    } else {
        set_perms(node, "n0");
    }
    vt_list_add(&nodes, &node->list);
    return node;
}

static void set_value(struct node *node, const char *value)
{
    free(node->value);
    node->value = strdup(value);
}

static void free_node(struct node *node)
{
    vt_list_remove(&node->list);
    free(node->path);
    free(node->value);
    free(node);
}

static void remove_tree(const char *path)
{
    VT_LIST_EACH(&nodes, at)
    {
        struct node *node = VT_LIST_ENTRY(at, struct node, list);
        if (!strcmp(node->path, path) || is_below(node->path, path))
            free_node(node);
    }
}

void fake_store_write(const char *path, const char *value, const char *perms)
{
    struct node *node;

    pthread_mutex_lock(&lock);
    node = make(path, 0);
    set_value(node, value);
    if (perms)
        set_perms(node, perms);
    pthread_mutex_unlock(&lock);
}

void fake_store_remove(const char *path)
{
    pthread_mutex_lock(&lock);
    remove_tree(path);
    pthread_mutex_unlock(&lock);
}

bool fake_store_has(const char *path)
{
    bool has;

    pthread_mutex_lock(&lock);
    has = find(path) != NULL;
    pthread_mutex_unlock(&lock);
    return has;
}

void fake_store_fire(const char *special)
{
    const uint64_t one = 1;

    pthread_mutex_lock(&lock);
    VT_LIST_EACH(&handles, at)
    {
        struct xs_handle *h = VT_LIST_ENTRY(at, struct xs_handle, list);
        /* As xenstored: only who may see all domains is told of them. */
        for (unsigned i = 0; !h->domid && i < h->watched_count; i++) {
            if (strcmp(h->watched[i], special) || h->fired_count == 64)
                continue;
            snprintf(h->fired[h->fired_count++], sizeof h->fired[0], "%s", special);
            check(write(h->fd, &one, sizeof one) == sizeof one, "eventfd");
        }
    }
    pthread_mutex_unlock(&lock);
}

void fake_domain_add(unsigned domid, const char *uuid, const char *name)
{
    char path[80], value[80], perms[20];

    snprintf(perms, sizeof perms, "n0,r%u", domid);
    snprintf(path, sizeof path, "/local/domain/%u", domid);
    fake_store_write(path, "", perms);
    snprintf(path, sizeof path, "/local/domain/%u/vm", domid);
    snprintf(value, sizeof value, "/vm/%s", uuid);
    fake_store_write(path, value, perms);
    snprintf(path, sizeof path, "/local/domain/%u/name", domid);
    fake_store_write(path, name, perms);
    snprintf(path, sizeof path, "/local/domain/%u/domid", domid);
    snprintf(value, sizeof value, "%u", domid);
    fake_store_write(path, value, perms);
    snprintf(path, sizeof path, "/local/domain/%u/data", domid);
    snprintf(perms, sizeof perms, "n%u", domid);
    fake_store_write(path, "", perms);
    fake_store_fire("@introduceDomain");
}

void fake_domain_remove(unsigned domid)
{
    char path[80];

    snprintf(path, sizeof path, "/local/domain/%u", domid);
    fake_store_remove(path);
    fake_store_fire("@releaseDomain");
}

void fake_store_hang(bool on)
{
    pthread_mutex_lock(&lock);
    is_hanging = on;
    pthread_cond_broadcast(&awake);
    pthread_mutex_unlock(&lock);
}

unsigned fake_store_waiting(void)
{
    unsigned count;

    pthread_mutex_lock(&lock);
    count = waiting;
    pthread_mutex_unlock(&lock);
    return count;
}

void fake_store_die(bool on)
{
    const uint64_t one = 1;

    pthread_mutex_lock(&lock);
    is_dead = on;
    VT_LIST_EACH(&handles, at)
    check(write(VT_LIST_ENTRY(at, struct xs_handle, list)->fd, &one, sizeof one) == sizeof one, "eventfd");
    pthread_mutex_unlock(&lock);
}

/* A thread that closes its connection and opens another one stays who it was, whatever the test is by then. */
static _Thread_local int was_domid = -1;

void fake_xen_be(unsigned domid)
{
    was_domid = -1;
    pthread_mutex_lock(&lock);
    own_domid = domid;
    pthread_mutex_unlock(&lock);
}

/* Every call of libxenstore begins here, and goes on under the lock. False: xenstored is dead. */
static bool enter(void)
{
    pthread_mutex_lock(&lock);
    waiting++;
    while (is_hanging)
        pthread_cond_wait(&awake, &lock);
    waiting--;
    if (!is_dead)
        return true;
    pthread_mutex_unlock(&lock);
    errno = EPIPE;
    return false;
}

static void *leave(void *result, int error)
{
    pthread_mutex_unlock(&lock);
    if (!result)
        errno = error;
    return result;
}

/* Paths that do not begin with / are of the domain's own home. */
static struct node *look_up(const struct xs_handle *h, const char *path)
{
    char whole[256];

    if (*path == '/')
        return find(path);
    snprintf(whole, sizeof whole, "/local/domain/%u/%s", h->domid, path);
    return find(whole);
}

static bool may(const struct xs_handle *h, const struct node *node, unsigned what)
{
    if (!h->domid || node->perms[0].id == h->domid)
        return true;
    for (unsigned i = 1; i < node->perms_count; i++)
        if (node->perms[i].id == h->domid)
            return (node->perms[i].perms & what) == what;
    return (node->perms[0].perms & what) == what;
}

struct xs_handle *xs_open(unsigned long flags)
{
    struct xs_handle *h;

    (void)flags;
    if (!enter())
        return NULL;
    h = calloc(1, sizeof *h);
    h->domid = was_domid < 0 ? own_domid : (unsigned)was_domid;
    h->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    vt_list_add(&handles, &h->list);
    return leave(h, 0);
}

void xs_close(struct xs_handle *h)
{
    was_domid = (int)h->domid;
    pthread_mutex_lock(&lock);
    vt_list_remove(&h->list);
    pthread_mutex_unlock(&lock);
    close(h->fd);
    free(h);
}

void *xs_read(struct xs_handle *h, xs_transaction_t t, const char *path, unsigned *len)
{
    struct node *node;

    (void)t;
    if (!enter())
        return NULL;
    node = look_up(h, path);
    if (!node || !may(h, node, XS_PERM_READ))
        return leave(NULL, node || h->domid ? EACCES : ENOENT);
    if (len)
        *len = (unsigned)strlen(node->value);
    return leave(strdup(node->value), 0);
}

bool xs_rm(struct xs_handle *h, xs_transaction_t t, const char *path)
{
    struct node *node;

    (void)t;
    if (!enter())
        return false;
    node = look_up(h, path);
    if (node && may(h, node, XS_PERM_WRITE))
        remove_tree(path);
    leave(NULL, 0);
    return node != NULL;
}

char **xs_directory(struct xs_handle *h, xs_transaction_t t, const char *path, unsigned *num)
{
    struct node *node;
    size_t count = 0, bytes = 0, i = 0;
    char **names, *text;

    (void)t;
    if (!enter())
        return NULL;
    node = look_up(h, path);
    if (!node || !may(h, node, XS_PERM_READ))
        return leave(NULL, node || h->domid ? EACCES : ENOENT);
    VT_LIST_EACH(&nodes, at)
    {
        const char *other = VT_LIST_ENTRY(at, struct node, list)->path;
        if (is_below(other, path) && !strchr(other + strlen(path) + 1, '/')) {
            count++;
            bytes += strlen(other) + 1;
        }
    }
    names = malloc((count + 1) * sizeof *names + bytes);
    text = (char *)(names + count + 1);
    VT_LIST_EACH(&nodes, again)
    {
        const char *other = VT_LIST_ENTRY(again, struct node, list)->path;
        if (is_below(other, path) && !strchr(other + strlen(path) + 1, '/')) {
            names[i++] = text;
            text = stpcpy(text, other + strlen(path) + 1) + 1;
        }
    }
    *num = (unsigned)count;
    return leave(names, 0);
}

struct xs_permissions *xs_get_permissions(struct xs_handle *h, xs_transaction_t t, const char *path, unsigned *num)
{
    struct xs_permissions *perms;
    struct node *node;

    (void)t;
    if (!enter())
        return NULL;
    node = look_up(h, path);
    if (!node || !may(h, node, XS_PERM_READ))
        return leave(NULL, node || h->domid ? EACCES : ENOENT);
    perms = malloc(sizeof node->perms);
    memcpy(perms, node->perms, sizeof node->perms);
    *num = node->perms_count;
    return leave(perms, 0);
}

bool xs_is_domain_introduced(struct xs_handle *h, unsigned domid)
{
    char path[64];
    bool is;

    (void)h;
    snprintf(path, sizeof path, "/local/domain/%u/domid", domid);
    if (!enter())
        return false;
    is = find(path) != NULL;
    leave(NULL, 0);
    return is;
}

bool xs_watch(struct xs_handle *h, const char *path, const char *token)
{
    (void)token;
    if (!enter())
        return false;
    check(h->watched_count < 4, "too many watches");
    snprintf(h->watched[h->watched_count++], sizeof h->watched[0], "%s", path);
    leave(NULL, 0);
    return true;
}

int xs_fileno(struct xs_handle *h)
{
    return h->fd;
}

char **xs_check_watch(struct xs_handle *h)
{
    char **watch;
    uint64_t count;

    pthread_mutex_lock(&lock);
    (void)!read(h->fd, &count, sizeof count);
    if (is_dead || !h->fired_count)
        return leave(NULL, is_dead ? EIO : EAGAIN);
    h->fired_count--;
    watch = malloc(2 * sizeof *watch + sizeof h->fired[0]);
    watch[0] = watch[1] = (char *)(watch + 2);
    memcpy(watch[0], h->fired[h->fired_count], sizeof h->fired[0]);
    return leave(watch, 0);
}

/* ---- vchan ---- */

#define LEFT_ORDER  10
#define RIGHT_ORDER 11

/* The shared page and both ends' event channels. */
struct page {
    struct vt_list list;
    struct vchan_interface *ring;
    unsigned ref;
    unsigned users;
    bool is_shared; /* the server has not taken it back */
    int events[2];  /* of server, client; -1: closed */
};

struct xenevtchn_handle {
    struct page *page;
    bool is_broken;
};

static struct vt_list pages = {&pages, &pages};
static unsigned last_ref, ends_open, servers_refused, waits;

static struct page *page_of(struct libxenvchan *chan)
{
    return chan->event->page;
}

static void notify_locked(struct page *page, bool by_server)
{
    const uint64_t one = 1;
    int fd = page->events[by_server ? 1 : 0];

    if (fd >= 0)
        check(write(fd, &one, sizeof one) == sizeof one, "eventfd");
}

static void notify(struct libxenvchan *chan)
{
    pthread_mutex_lock(&lock);
    notify_locked(page_of(chan), chan->is_server);
    pthread_mutex_unlock(&lock);
}

void fake_vchan_kick(struct libxenvchan *chan)
{
    notify(chan);
}

static struct libxenvchan *new_end(struct page *page, bool server)
{
    struct libxenvchan *chan = calloc(1, sizeof *chan);
    struct libxenvchan_ring left = {.shr = &page->ring->left, .buffer = (char *)page->ring + 1024, .order = LEFT_ORDER};
    struct libxenvchan_ring right = {.shr = &page->ring->right, .buffer = (char *)page->ring + 2048, .order = RIGHT_ORDER};

    chan->ring = page->ring;
    chan->is_server = server;
    chan->blocking = 1; /* what is there when nobody has said otherwise is not defined: the worse one */
    chan->event = calloc(1, sizeof *chan->event);
    chan->event->page = page;
    chan->read = server ? left : right;
    chan->write = server ? right : left;
    page->events[!server] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    page->users++;
    ends_open++;
    return chan;
}

static struct page *new_page(void)
{
    struct page *page = calloc(1, sizeof *page);

    page->ring = aligned_alloc(4096, 4096);
    memset(page->ring, 0, 4096);
    page->ring->left_order = LEFT_ORDER;
    page->ring->right_order = RIGHT_ORDER;
    page->ring->cli_live = 2;
    page->ring->srv_live = 1;
    page->ring->cli_notify = VCHAN_NOTIFY_WRITE;
    page->ref = ++last_ref;
    page->is_shared = true;
    page->events[0] = page->events[1] = -1;
    vt_list_add(&pages, &page->list);
    return page;
}

static void join_page(struct page *page)
{
    __atomic_store_n(&page->ring->cli_live, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&page->ring->srv_notify, VCHAN_NOTIFY_WRITE, __ATOMIC_SEQ_CST);
    notify_locked(page, false);
}

static void write_leaf(const char *base, const char *leaf, unsigned value, unsigned own, unsigned peer)
{
    char path[80], text[16], perms[32];
    struct node *node;

    check((size_t)snprintf(path, sizeof path, "%s/%s", base, leaf) < 64, "a path that libxenvchan cuts");
    snprintf(text, sizeof text, "%u", value);
    snprintf(perms, sizeof perms, "n%u,r%u", own, peer);
    node = make(path, own);
    set_value(node, text);
    set_perms(node, perms);
}

struct libxenvchan *libxenvchan_server_init(struct xentoollog_logger *logger, int domain, const char *xs_path,
                                            size_t read_min, size_t write_min)
{
    struct libxenvchan *chan = NULL;
    unsigned own = 0;

    (void)logger;
    check(read_min <= 1u << LEFT_ORDER && write_min <= 1u << RIGHT_ORDER, "only rings within the page");
    check(sscanf(xs_path, "/local/domain/%u/data/vchan/", &own) == 1 && own != (unsigned)domain, "path");
    if (!enter())
        return NULL;
    if (servers_refused) {
        servers_refused--;
        return leave(NULL, ENOSPC);
    }
    chan = new_end(new_page(), true);
    chan->xs_path = strdup(xs_path);
    write_leaf(xs_path, "ring-ref", page_of(chan)->ref, own, (unsigned)domain);
    write_leaf(xs_path, "event-channel", page_of(chan)->ref + 1000, own, (unsigned)domain);
    return leave(chan, 0);
}

static struct page *shared_page(const char *base)
{
    char path[80];
    struct node *node;

    snprintf(path, sizeof path, "%s/ring-ref", base);
    node = find(path);
    VT_LIST_EACH(&pages, at)
    {
        struct page *page = VT_LIST_ENTRY(at, struct page, list);
        if (node && page->ref == (unsigned)atoi(node->value) && page->is_shared)
            return page;
    }
    return NULL;
}

struct libxenvchan *libxenvchan_client_init(struct xentoollog_logger *logger, int domain, const char *xs_path)
{
    struct libxenvchan *chan;
    struct page *page;

    (void)logger;
    (void)domain;
    if (!enter())
        return NULL;
    page = shared_page(xs_path);
    if (!page || page->events[1] >= 0)
        return leave(NULL, page ? EBUSY : ENOENT);
    chan = new_end(page, false);
    join_page(page);
    return leave(chan, 0);
}

void fake_vchan_pair(struct libxenvchan **server, struct libxenvchan **client)
{
    pthread_mutex_lock(&lock);
    *server = new_end(new_page(), true);
    *client = new_end(page_of(*server), false);
    (*server)->blocking = (*client)->blocking = 0;
    join_page(page_of(*server));
    pthread_mutex_unlock(&lock);
}

static void remove_leaves(struct libxenvchan *chan)
{
    char path[80];

    if (!chan->xs_path || !enter())
        return;
    snprintf(path, sizeof path, "%s/ring-ref", chan->xs_path);
    remove_tree(path);
    snprintf(path, sizeof path, "%s/event-channel", chan->xs_path);
    remove_tree(path);
    leave(NULL, 0);
}

void libxenvchan_close(struct libxenvchan *chan)
{
    struct page *page = page_of(chan);

    __atomic_store_n(chan->is_server ? &chan->ring->srv_live : &chan->ring->cli_live, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&lock);
    notify_locked(page, chan->is_server);
    close(page->events[!chan->is_server]);
    page->events[!chan->is_server] = -1;
    page->is_shared &= !chan->is_server;
    ends_open--;
    if (!--page->users) {
        vt_list_remove(&page->list);
        free(page->ring);
        free(page);
    }
    pthread_mutex_unlock(&lock);
    if (chan->is_server)
        remove_leaves(chan);
    free(chan->xs_path);
    free(chan->event);
    free(chan);
}

int libxenvchan_is_open(struct libxenvchan *chan)
{
    return __atomic_load_n(chan->is_server ? &chan->ring->cli_live : &chan->ring->srv_live, __ATOMIC_SEQ_CST);
}

static uint32_t size_of(const struct libxenvchan_ring *ring)
{
    return UINT32_C(1) << ring->order;
}

static uint32_t filled(const struct libxenvchan_ring *ring)
{
    uint32_t cons = __atomic_load_n(&ring->shr->cons, __ATOMIC_SEQ_CST);

    return __atomic_load_n(&ring->shr->prod, __ATOMIC_SEQ_CST) - cons;
}

/* "Please tell me": the bits that this end watches are the other end's notify byte. */
static void ask_for(struct libxenvchan *chan, uint8_t what)
{
    __atomic_fetch_or(chan->is_server ? &chan->ring->cli_notify : &chan->ring->srv_notify, what, __ATOMIC_SEQ_CST);
}

static void tell(struct libxenvchan *chan, uint8_t what)
{
    uint8_t *asked = chan->is_server ? &chan->ring->srv_notify : &chan->ring->cli_notify;

    if (__atomic_fetch_and(asked, (uint8_t)~what, __ATOMIC_SEQ_CST) & what)
        notify(chan);
}

/* Impossible indexes count as nothing ready, and no room. */
static uint32_t can_read(const struct libxenvchan *chan)
{
    uint32_t n = filled(&chan->read);

    return n > size_of(&chan->read) ? 0 : n;
}

static uint32_t can_write(const struct libxenvchan *chan)
{
    uint32_t n = filled(&chan->write);

    return n > size_of(&chan->write) ? 0 : size_of(&chan->write) - n;
}

int libxenvchan_read(struct libxenvchan *chan, void *data, size_t size)
{
    uint32_t n = can_read(chan), at, i;

    check(!chan->blocking, "a ring that is read with waiting");
    if (n < size) {
        ask_for(chan, VCHAN_NOTIFY_WRITE);
        n = can_read(chan);
    }
    if (!n)
        return libxenvchan_is_open(chan) ? 0 : -1;
    n = n < size ? n : (uint32_t)size;
    at = __atomic_load_n(&chan->read.shr->cons, __ATOMIC_SEQ_CST);
    for (i = 0; i < n; i++)
        ((char *)data)[i] = ((char *)chan->read.buffer)[(at + i) & (size_of(&chan->read) - 1)];
    __atomic_fetch_add(&chan->read.shr->cons, n, __ATOMIC_SEQ_CST);
    tell(chan, VCHAN_NOTIFY_READ);
    return (int)n;
}

int libxenvchan_write(struct libxenvchan *chan, const void *data, size_t size)
{
    uint32_t n, at, i;

    check(!chan->blocking, "a ring that is written with waiting");
    if (!libxenvchan_is_open(chan))
        return -1;
    n = can_write(chan);
    if (n < size) {
        ask_for(chan, VCHAN_NOTIFY_READ);
        n = can_write(chan);
    }
    n = n < size ? n : (uint32_t)size;
    if (!n)
        return 0;
    at = __atomic_load_n(&chan->write.shr->prod, __ATOMIC_SEQ_CST);
    for (i = 0; i < n; i++)
        ((char *)chan->write.buffer)[(at + i) & (size_of(&chan->write) - 1)] = ((const char *)data)[i];
    __atomic_fetch_add(&chan->write.shr->prod, n, __ATOMIC_SEQ_CST);
    tell(chan, VCHAN_NOTIFY_WRITE);
    return (int)n;
}

int libxenvchan_fd_for_select(struct libxenvchan *chan)
{
    return page_of(chan)->events[!chan->is_server];
}

int libxenvchan_wait(struct libxenvchan *chan)
{
    uint64_t count;

    if (__atomic_load_n(&chan->event->is_broken, __ATOMIC_SEQ_CST))
        return -1;
    if (read(libxenvchan_fd_for_select(chan), &count, sizeof count) != sizeof count)
        __atomic_fetch_add(&waits, 1, __ATOMIC_SEQ_CST);
    return 0;
}

unsigned fake_vchan_open(void)
{
    unsigned count;

    pthread_mutex_lock(&lock);
    count = ends_open;
    pthread_mutex_unlock(&lock);
    return count;
}

void fake_vchan_refuse(unsigned servers)
{
    pthread_mutex_lock(&lock);
    servers_refused = servers;
    pthread_mutex_unlock(&lock);
}

void fake_vchan_break(struct libxenvchan *chan)
{
    __atomic_store_n(&chan->event->is_broken, true, __ATOMIC_SEQ_CST);
}

unsigned fake_vchan_waits(void)
{
    return __atomic_load_n(&waits, __ATOMIC_SEQ_CST);
}

/* ---- Begin and end ---- */

void fake_xen_init(void)
{
    int fd;

    snprintf(lock_file, sizeof lock_file, "/tmp/vtpm-test-vchan-XXXXXX");
    fd = mkstemp(lock_file);
    check(fd >= 0, "no file to lock");
    close(fd);
    was_domid = -1;
    own_domid = 0;
    site_err = VT_OK;
    servers_refused = waits = 0;
    fake_store_write("/local/domain", "", "n0");
    fake_store_write("/local/domain/0/domid", "0", "r0");
}

static bool complain(bool bad, const char *what)
{
    if (bad)
        fprintf(stderr, "fake xen: %s\n", what);
    return !bad;
}

bool fake_xen_end(void)
{
    bool good = complain(ends_open, "a vchan is still open");

    good &= complain(!vt_list_empty(&handles), "a connection to xenstore is still open");
    good &= complain(fake_vchan_waits(), "an event channel was waited for that had no event");
    ends_open = 0;
    VT_LIST_EACH(&nodes, at)
    free_node(VT_LIST_ENTRY(at, struct node, list));
    unlink(lock_file);
    return good;
}
