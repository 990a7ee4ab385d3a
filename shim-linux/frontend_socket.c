/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw TPM commands on a TCP or Unix socket. Several clients at once: their commands form one queue, in the order in
 * which they were complete. A client that leaves while its command is under way: the command finishes and its
 * response is dropped. A client that only closes its sending side still gets its responses.
 */
#include "server/base/alloc.h"
#include "server/base/buf.h"
#include "server/base/list.h"
#include "server/base/log.h"
#include "server/base/secret.h"
#include "shim-linux/frontend.h"
#include "shim-linux/listening.h"

#define CLIENTS_MAX  64
#define HEADER       10 /* tag 2, size 4, ordinal 4 */
#define COMMAND_MAX  4096
#define INPUT_MAX    (2 * COMMAND_MAX)
#define UNSENT_MAX   (64u * 1024)

struct client {
    union stream stream;
    struct frontend *front;
    struct vt_list all;
    struct vt_list queue;   /* of clients whose next command is complete */
    struct vt_buf in;
    bool no_more_input;     /* it has closed its sending side */
    bool paused;            /* not read until a command has been taken */
    bool closing;
};

struct frontend {
    struct listening listening;
    const struct frontend_host *host;
    struct lane *lane;
    struct vt_list clients;
    struct vt_list queue;
    unsigned client_count;
    struct client *serving; /* NULL too when it has left */
    union stream refused;   /* while is_refusing: a client there was no memory for */
    bool is_refusing;
    bool refuse_next;       /* another one waits for its place */
    bool stopped;
    char receive[COMMAND_MAX];
    uint8_t command[COMMAND_MAX];
    size_t command_len;
};

/* ---- Clients ---- */

static void on_client_closed(uv_handle_t *handle)
{
    struct client *client = VT_CONTAINER(handle, struct client, stream);

    vt_buf_free(&client->in);
    vt_free(client);
}

static void client_close(struct client *client)
{
    struct frontend *front = client->front;

    if (client->closing)
        return;
    client->closing = true;
    if (front->serving == client)
        front->serving = NULL;
    vt_list_remove(&client->all);
    vt_list_remove(&client->queue);
    front->client_count--;
    stream_finish(&client->stream, on_client_closed);
}

static void client_send(struct client *client, const uint8_t *bytes, size_t len)
{
    if (stream_write(&client->stream, bytes, len) ||
        uv_stream_get_write_queue_size(&client->stream.stream) > UNSENT_MAX)
        client_close(client);
}

/* Tag TPM_TAG_RSP_COMMAND, TPM_BAD_PARAM_SIZE (Part 2, 16). Where the next command begins cannot be known. */
static void refuse_size(struct client *client, uint32_t size)
{
    static const uint8_t bad_size[HEADER] = {0x00, 0xc4, 0, 0, 0, HEADER, 0, 0, 0, 0x19};

    vt_warning("socket: a client sent a command of size %u (10 to %d): closed", size, COMMAND_MAX);
    client_send(client, bad_size, sizeof bad_size);
    client_close(client);
}

/* The size that the command at the read end states; 0: not there yet. */
static uint32_t stated_size(const struct vt_buf *in)
{
    const uint8_t *bytes = vt_buf_bytes(in);

    if (vt_buf_size(in) < 6)
        return 0;
    return (uint32_t)bytes[2] << 24 | (uint32_t)bytes[3] << 16 | (uint32_t)bytes[4] << 8 | bytes[5];
}

/* Looks whether the next command is complete, and queues the client if so. */
static void client_look(struct client *client)
{
    struct frontend *front = client->front;
    uint32_t size = stated_size(&client->in);
    bool known = vt_buf_size(&client->in) >= 6;

    if (client->closing || !vt_list_empty(&client->queue) || front->serving == client)
        return;
    if (known && (size < HEADER || size > COMMAND_MAX))
        refuse_size(client, size);
    else if (known && vt_buf_size(&client->in) >= size)
        vt_list_add(&front->queue, &client->queue);
    else if (client->no_more_input)
        client_close(client);
}

static void on_alloc(uv_handle_t *handle, size_t size VT_UNUSED, uv_buf_t *buf)
{
    struct client *client = VT_CONTAINER(handle, struct client, stream);
    size_t room = client->in.limit - vt_buf_size(&client->in);

    *buf = uv_buf_init(client->front->receive, (unsigned)VT_MIN(room, sizeof client->front->receive));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *client = VT_CONTAINER(stream, struct client, stream);
    struct frontend *front = client->front;
    int err = n > 0 ? vt_buf_put(&client->in, buf->base, (size_t)n) : VT_OK;

    if (n > 0)
        vt_wipe(buf->base, (size_t)n);
    if (n == UV_EOF) {
        client->no_more_input = true;
        (void)uv_read_stop(stream);
    } else if (n < 0 || err) {
        client_close(client);
    } else if (vt_buf_size(&client->in) == client->in.limit) {
        client->paused = true;
        (void)uv_read_stop(stream);
    }
    client_look(client);
    if (!vt_list_empty(&front->queue))
        lane_ready(front->lane);
}

static void resume(struct client *client)
{
    if (!client->paused || client->closing)
        return;
    client->paused = false;
    if (uv_read_start(&client->stream.stream, on_alloc, on_read))
        client_close(client);
}

static void on_connection(uv_stream_t *listener, int status);

static void on_refused(uv_handle_t *handle)
{
    struct frontend *front = VT_CONTAINER(handle, struct frontend, refused);

    front->is_refusing = false;
    if (front->refuse_next && !uv_is_closing(&front->listening.stream.handle))
        on_connection(&front->listening.stream.stream, 0);
}

/* It is accepted all the same: until then libuv takes no other one. */
static void refuse_client(struct frontend *front)
{
    front->refuse_next = front->is_refusing;
    if (front->is_refusing || listening_init(&front->listening, &front->refused))
        return;
    front->is_refusing = true;
    (void)uv_accept(&front->listening.stream.stream, &front->refused.stream);
    uv_close(&front->refused.handle, on_refused);
    vt_warning("socket: a client was turned away: out of memory (%u are connected)", front->client_count);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct frontend *front = VT_CONTAINER(listener, struct frontend, listening.stream);
    struct client *client;

    if (status)
        return;
    front->refuse_next = false;
    client = VT_NEW(struct client);
    if (!client) {
        refuse_client(front);
        return;
    }
    client->front = front;
    vt_list_init(&client->queue);
    vt_list_init(&client->all);
    vt_buf_init(&client->in, INPUT_MAX);
    if (listening_init(&front->listening, &client->stream)) {
        vt_free(client);
        return;
    }
    vt_list_add(&front->clients, &client->all);
    front->client_count++;
    if (uv_accept(listener, &client->stream.stream) || front->client_count > CLIENTS_MAX ||
        uv_read_start(&client->stream.stream, on_alloc, on_read)) {
        vt_warning("socket: a client was turned away (%u are connected)", front->client_count - 1);
        client_close(client);
        return;
    }
    if (listener->type == UV_TCP)
        (void)uv_tcp_nodelay(&client->stream.tcp, 1);
}

/* ---- What the lane asks ---- */

static bool take(void *ctx, struct courier_request *request)
{
    struct frontend *front = ctx;
    struct client *client;

    if (front->stopped || vt_list_empty(&front->queue))
        return false;
    client = VT_LIST_ENTRY(front->queue.next, struct client, queue);
    vt_list_remove(&client->queue);
    front->serving = client;
    front->command_len = stated_size(&client->in);
    memcpy(front->command, vt_buf_bytes(&client->in), front->command_len);
    vt_buf_drop(&client->in, front->command_len);
    if (!vt_buf_size(&client->in))
        vt_buf_free(&client->in);
    resume(client);
    *request = (struct courier_request){.locality = 0, .bytes = front->command, .len = front->command_len};
    return true;
}

static bool respond(void *ctx, const struct courier_response *response)
{
    struct frontend *front = ctx;
    struct client *client = front->serving;

    vt_wipe(front->command, front->command_len);
    front->command_len = 0;
    front->serving = NULL;
    if (client) {
        client_send(client, response->bytes, response->len);
        client_look(client);
    }
    return true;
}

static void on_ended(void *ctx, int err)
{
    struct frontend *front = ctx;

    if (err)
        front->host->failed(front->host->ctx, err, "another shim has the instance; start this one again to take it back");
}

static const struct lane_source source = {.take = take, .respond = respond, .ended = on_ended};

/* ---- What the shim asks ---- */

static void stop(struct frontend *front)
{
    front->stopped = true;
    listening_stop(&front->listening);
}

static void close_all(struct frontend *front)
{
    stop(front);
    if (front->lane)
        lane_close(front->lane, LANE_NOW);
    front->lane = NULL;
    VT_LIST_EACH(&front->clients, node)
        client_close(VT_LIST_ENTRY(node, struct client, all));
}

static void free_front(struct frontend *front)
{
    vt_free_wiped(front, sizeof *front);
}

static const char *where(const struct frontend *front)
{
    return front->listening.where;
}

/* ---- Start ---- */

static int open_lane(struct frontend *front, struct vt_why *why)
{
    const struct options *options = front->host->options;
    struct lane_config config = {
        .credential = options->credential,
        .label = "",
        .uuid = options->instance,
        .has_uuid = options->has_instance,
    };

    return lane_open(&front->lane, front->host->lanes, &config, &source, front, why);
}

static int start(struct frontend **front_out, const char *spec, const struct frontend_host *host, struct vt_why *why)
{
    struct frontend *front;
    int err;

    if (!endpoint_after(spec, "unix") && !endpoint_after(spec, "tcp"))
        return vt_fail(why, VT_EUSAGE, "--frontend socket:%s: not %s", spec, frontend_socket.form);
    front = VT_NEW(struct frontend);
    if (!front)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    front->host = host;
    vt_list_init(&front->clients);
    vt_list_init(&front->queue);
    /* The caller closes and frees it on errors too: its handle may be known to the loop. */
    *front_out = front;
    err = open_lane(front, why);
    return err ? err : listening_start(&front->listening, host->loop, spec, on_connection, why);
}

const struct frontend_kind frontend_socket = {
    .scheme = "socket",
    .form = "socket:tcp:ADDR:PORT or socket:unix:PATH",
    .name = "socket",
    .start = start,
    .where = where,
    .stop = stop,
    .close = close_all,
    .free = free_front,
};
