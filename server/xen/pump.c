/* SPDX-License-Identifier: Apache-2.0 */
#include "server/xen/pump.h"

#include <errno.h>
#include <libxenvchan.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/xen/thread.h"

#define TURNS_AT_ONCE 8
#define SOCKET_BUFFER 32768
#define LAST_WORDS_MS 500

struct vchan_pump {
    pthread_t thread;
    pthread_mutex_t lock;
    int wake;
    bool is_ending;         /* lock */
    bool has_drops;         /* lock */
    struct vt_list arrived; /* lock */
    struct vt_list ends;
    struct pollfd *polls; /* the wake-up, then two for each end: event channel, socket */
    size_t polls_max;
    size_t count; /* of ends */
    int64_t ending_ms; /* since when; 0: not */
};

const char *vchan_over_text(enum vchan_over how)
{
    static const char *const texts[] = {
        [VCHAN_OVER_USER] = "closed on our side",
        [VCHAN_OVER_PEER] = "closed by the other domain",
        [VCHAN_OVER_CORRUPT] = "its ring was corrupted by the other domain",
        [VCHAN_OVER_STUCK] = "closed with bytes that the other side did not take",
        [VCHAN_OVER_DROPPED] = "withdrawn",
        [VCHAN_OVER_FAILED] = "failed on this host",
    };

    return texts[how];
}

int64_t vchan_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + 1;
}

int vchan_socketpair(int fds[2], struct vt_why *why)
{
    const int size = SOCKET_BUFFER;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds))
        return vt_fail(why, VT_EIO, "no socket pair for a vchan: %s", strerror(errno));
    for (int i = 0; i < 2; i++)
        (void)!setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return VT_OK;
}

/* ---- The ring ---- */

/* Indexes that an honest peer can have left. Each is read once: the peer may change it at any moment. */
static bool is_sane(const struct libxenvchan_ring *ring)
{
    uint32_t cons = __atomic_load_n(&ring->shr->cons, __ATOMIC_ACQUIRE);
    uint32_t prod = __atomic_load_n(&ring->shr->prod, __ATOMIC_ACQUIRE);

    return prod - cons <= UINT32_C(1) << ring->order;
}

/* Both rings have one index that only we move and one that only the peer moves forward: no race can look corrupt. */
static bool is_corrupt(const struct vchan_end *end)
{
    return !is_sane(&end->chan->read) || !is_sane(&end->chan->write);
}

static bool is_empty(const struct vchan_flow *flow)
{
    return flow->at == flow->len;
}

/* True: something moved. */
static bool ring_to_buffer(struct vchan_end *end)
{
    int n;

    if (!is_empty(&end->in) || end->ring_over)
        return false;
    n = libxenvchan_read(end->chan, end->in.bytes, sizeof end->in.bytes);
    end->in.at = 0;
    end->in.len = n > 0 ? VT_MIN((size_t)n, sizeof end->in.bytes) : 0;
    end->ring_over = n < 0;
    return n > 0;
}

static bool buffer_to_ring(struct vchan_end *end)
{
    int n;

    if (is_empty(&end->out) || end->ring_over)
        return false;
    n = libxenvchan_write(end->chan, end->out.bytes + end->out.at, end->out.len - end->out.at);
    if (n > 0)
        end->out.at += VT_MIN((size_t)n, end->out.len - end->out.at);
    /* No more can be sent; but what the peer sent before it went is still there to be read. */
    if (n < 0)
        end->out.at = end->out.len = 0;
    return n > 0;
}

/* ---- The socket ---- */

static bool would_wait(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static bool buffer_to_socket(struct vchan_end *end)
{
    ssize_t n;

    if (is_empty(&end->in))
        return false;
    n = send(end->fd, end->in.bytes + end->in.at, end->in.len - end->in.at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
        end->in.at += (size_t)n;
        return true;
    }
    if (n < 0 && !would_wait(errno)) {
        end->in.at = end->in.len = 0;
        end->user_over = true;
    }
    return false;
}

static bool socket_to_buffer(struct vchan_end *end)
{
    ssize_t n;

    if (!is_empty(&end->out) || end->user_over || end->ring_over)
        return false;
    n = recv(end->fd, end->out.bytes, sizeof end->out.bytes, MSG_DONTWAIT);
    end->out.at = 0;
    end->out.len = n > 0 ? (size_t)n : 0;
    if (n == 0 || (n < 0 && !would_wait(errno)))
        end->user_over = true;
    return n > 0;
}

/* ---- One end's turn ---- */

/* The pump lets go. */
static void finish(struct vchan_pump *pump, struct vchan_end *end, enum vchan_over how)
{
    vt_list_remove(&end->node);
    pump->count--;
    if (end->fd >= 0)
        close(end->fd);
    end->fd = -1;
    end->ops->over(end->arg, how);
}

/* False: the end is over. */
static bool greet(struct vchan_pump *pump, struct vchan_end *end)
{
    int open = libxenvchan_is_open(end->chan);
    int fds[2];

    if (open == 2)
        return true;
    if (!open) {
        finish(pump, end, VCHAN_OVER_PEER);
        return false;
    }
    if (vchan_socketpair(fds, NULL)) {
        finish(pump, end, VCHAN_OVER_FAILED);
        return false;
    }
    end->fd = fds[0];
    if (end->ops->connected(end->arg, fds[1]))
        return true;
    finish(pump, end, VCHAN_OVER_DROPPED);
    return false;
}

static void move_bytes(struct vchan_end *end)
{
    bool moved = true;

    for (int i = 0; i < TURNS_AT_ONCE && moved; i++) {
        moved = ring_to_buffer(end);
        moved |= buffer_to_socket(end);
        moved |= socket_to_buffer(end);
        moved |= buffer_to_ring(end);
    }
    end->is_ready = moved;
}

/* After both sides had their turn: whether that was all, and how it ended. */
static bool is_over(struct vchan_end *end, int64_t now_ms, enum vchan_over *how)
{
    *how = end->user_over ? VCHAN_OVER_USER : VCHAN_OVER_PEER;
    if (end->user_over && (end->ring_over || is_empty(&end->out)))
        return true;
    if (end->ring_over && is_empty(&end->in))
        return true;
    if (!end->ring_over && !end->user_over && !end->user_hung_up)
        return false;
    if (!end->closing_ms)
        end->closing_ms = now_ms;
    *how = VCHAN_OVER_STUCK;
    return now_ms - end->closing_ms >= VCHAN_DRAIN_MS;
}

static void take_turn(struct vchan_pump *pump, struct vchan_end *end, int64_t now_ms)
{
    enum vchan_over how;

    end->is_ready = false;
    if (end->fd < 0 && !greet(pump, end))
        return;
    if (end->fd < 0)
        return;
    if (is_corrupt(end)) {
        finish(pump, end, VCHAN_OVER_CORRUPT);
        return;
    }
    move_bytes(end);
    if (is_over(end, now_ms, &how))
        finish(pump, end, how);
}

/* ---- Polling ---- */

static void drain(int wake)
{
    uint64_t count;

    (void)!read(wake, &count, sizeof count);
}

static void wake_up(struct vchan_pump *pump)
{
    const uint64_t one = 1;

    (void)!write(pump->wake, &one, sizeof one);
}

static short socket_events(const struct vchan_end *end)
{
    short events = 0;

    if (!is_empty(&end->in))
        events |= POLLOUT;
    if (is_empty(&end->out) && !end->user_over && !end->ring_over)
        events |= POLLIN;
    return events;
}

static int fill_polls(struct vchan_pump *pump)
{
    int wait_ms = vt_list_empty(&pump->ends) ? -1 : pump->ending_ms ? LAST_WORDS_MS / 10 : VCHAN_TICK_MS;
    size_t i = 1;

    pump->polls[0] = (struct pollfd){.fd = pump->wake, .events = POLLIN};
    VT_LIST_EACH(&pump->ends, node)
    {
        struct vchan_end *end = VT_LIST_ENTRY(node, struct vchan_end, node);
        short events = socket_events(end);
        bool is_deaf = !events && (end->user_hung_up || end->user_over);

        /* A negative descriptor is not looked at: a hang-up that changes nothing must not wake us for ever. */
        pump->polls[i++] = (struct pollfd){
            .fd = end->ring_over ? -1 : libxenvchan_fd_for_select(end->chan), .events = POLLIN};
        pump->polls[i++] = (struct pollfd){.fd = is_deaf ? -1 : end->fd, .events = events};
        if (end->is_ready)
            wait_ms = 0;
    }
    return wait_ms;
}

/* False: the event channel's descriptor is unusable. */
static bool take_event(struct vchan_end *end, short revents)
{
    if (revents & (POLLERR | POLLNVAL))
        return false;
    /* Only after poll said so, and once: it would wait for an event. */
    return !(revents & POLLIN) || !libxenvchan_wait(end->chan);
}

static void serve(struct vchan_pump *pump, bool is_tick)
{
    int64_t now_ms = vchan_now_ms();
    size_t i = 1;

    VT_LIST_EACH(&pump->ends, node)
    {
        struct vchan_end *end = VT_LIST_ENTRY(node, struct vchan_end, node);
        short event = pump->polls[i++].revents, socket = pump->polls[i++].revents;

        end->user_hung_up |= (socket & (POLLHUP | POLLERR)) != 0;
        if (!take_event(end, event))
            finish(pump, end, VCHAN_OVER_FAILED);
        else if (event || socket || end->is_ready || is_tick)
            take_turn(pump, end, now_ms);
    }
}

/* ---- Orders from other threads ---- */

static bool make_room(struct vchan_pump *pump)
{
    size_t need = 1 + 2 * (pump->count + 1), max = VT_MAX(pump->polls_max * 2, need);
    struct pollfd *polls;

    if (need <= pump->polls_max)
        return true;
    polls = vt_realloc(pump->polls, max * sizeof *polls);
    if (!polls)
        return false;
    pump->polls = polls;
    pump->polls_max = max;
    return true;
}

static struct vchan_end *next_arrival(struct vchan_pump *pump)
{
    struct vchan_end *end = NULL;

    pthread_mutex_lock(&pump->lock);
    if (!vt_list_empty(&pump->arrived)) {
        end = VT_LIST_ENTRY(pump->arrived.next, struct vchan_end, node);
        vt_list_remove(&end->node);
        vt_list_add(&pump->ends, &end->node);
    }
    pthread_mutex_unlock(&pump->lock);
    return end;
}

static void take_arrivals(struct vchan_pump *pump)
{
    struct vchan_end *end;

    while ((end = next_arrival(pump))) {
        bool has_room = make_room(pump);
        pump->count++;
        end->is_ready = true; /* bytes may be there already, and their event came before us */
        if (!has_room)
            finish(pump, end, VCHAN_OVER_FAILED);
    }
}

static bool is_dropped(struct vchan_pump *pump, const struct vchan_end *end)
{
    bool dropped;

    pthread_mutex_lock(&pump->lock);
    dropped = end->is_dropped;
    pthread_mutex_unlock(&pump->lock);
    return dropped;
}

static void take_drops(struct vchan_pump *pump, bool all)
{
    VT_LIST_EACH(&pump->ends, node)
    {
        struct vchan_end *end = VT_LIST_ENTRY(node, struct vchan_end, node);
        if (all || (pump->ending_ms && end->fd < 0) || is_dropped(pump, end))
            finish(pump, end, VCHAN_OVER_DROPPED);
    }
}

/* Whoever closed its socket just now may have said something before. True: there is nobody left. */
static bool is_ended(struct vchan_pump *pump)
{
    if (!pump->ending_ms)
        pump->ending_ms = vchan_now_ms();
    take_drops(pump, vchan_now_ms() - pump->ending_ms >= LAST_WORDS_MS);
    return vt_list_empty(&pump->ends);
}

/* False: the pump ends. */
static bool take_orders(struct vchan_pump *pump)
{
    bool is_ending, has_drops;

    take_arrivals(pump);
    pthread_mutex_lock(&pump->lock);
    is_ending = pump->is_ending;
    has_drops = pump->has_drops;
    pump->has_drops = false;
    pthread_mutex_unlock(&pump->lock);
    if (has_drops)
        take_drops(pump, false);
    return !is_ending || !is_ended(pump);
}

static void *run(void *arg)
{
    struct vchan_pump *pump = arg;
    int64_t tick_ms = vchan_now_ms();

    while (take_orders(pump)) {
        bool is_tick;
        int n = poll(pump->polls, 1 + 2 * pump->count, fill_polls(pump));

        if (n < 0)
            continue;
        drain(pump->wake);
        is_tick = vchan_now_ms() - tick_ms >= VCHAN_TICK_MS;
        if (is_tick)
            tick_ms = vchan_now_ms();
        serve(pump, is_tick);
    }
    return NULL;
}

/* ---- For other threads ---- */

int vchan_pump_new(struct vchan_pump **out, struct vt_why *why)
{
    struct vchan_pump *pump = VT_NEW(struct vchan_pump);

    if (!pump)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    vt_list_init(&pump->arrived);
    vt_list_init(&pump->ends);
    pthread_mutex_init(&pump->lock, NULL);
    pump->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pump->wake >= 0 && make_room(pump) && thread_start(&pump->thread, run, pump)) {
        *out = pump;
        return VT_OK;
    }
    if (pump->wake >= 0)
        close(pump->wake);
    vt_free(pump->polls);
    vt_free(pump);
    return vt_fail(why, VT_EFAIL, "no thread for vchans: out of descriptors, threads or memory");
}

void vchan_pump_free(struct vchan_pump *pump)
{
    if (!pump)
        return;
    pthread_mutex_lock(&pump->lock);
    pump->is_ending = true;
    pthread_mutex_unlock(&pump->lock);
    wake_up(pump);
    pthread_join(pump->thread, NULL);
    pthread_mutex_destroy(&pump->lock);
    close(pump->wake);
    vt_free(pump->polls);
    vt_free(pump);
}

void vchan_pump_add(struct vchan_pump *pump, struct vchan_end *end)
{
    vt_list_init(&end->node);
    end->closing_ms = 0;
    end->ring_over = end->user_over = end->user_hung_up = end->is_dropped = false;
    end->in.at = end->in.len = end->out.at = end->out.len = 0;
    pthread_mutex_lock(&pump->lock);
    vt_list_add(&pump->arrived, &end->node);
    pthread_mutex_unlock(&pump->lock);
    wake_up(pump);
}

void vchan_pump_drop(struct vchan_pump *pump, struct vchan_end *end)
{
    pthread_mutex_lock(&pump->lock);
    end->is_dropped = true;
    pump->has_drops = true;
    pthread_mutex_unlock(&pump->lock);
    wake_up(pump);
}
