/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_xen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

struct fake_xen *fake_xen_map(int fd)
{
    void *at = mmap(NULL, sizeof(struct fake_xen), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return at == MAP_FAILED ? NULL : at;
}

void fake_xen_lock(struct fake_xen *xen)
{
    if (pthread_mutex_lock(&xen->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&xen->lock);
}

void fake_xen_unlock(struct fake_xen *xen)
{
    pthread_mutex_unlock(&xen->lock);
}

struct fake_node *fake_xen_find(struct fake_xen *xen, const char *path)
{
    for (size_t i = 0; i < FAKE_NODES; i++)
        if (strcmp(xen->nodes[i].path, path) == 0)
            return &xen->nodes[i];
    return NULL;
}

void fake_xen_change(struct fake_xen *xen, const char *path)
{
    snprintf(xen->changed[xen->changes % FAKE_CHANGES], FAKE_PATH, "%s", path);
    xen->changes++;
}

void fake_xen_set(struct fake_xen *xen, const char *path, const char *value)
{
    struct fake_node *node = fake_xen_find(xen, path);

    if (!node)
        node = fake_xen_find(xen, "");
    if (!node || strlen(path) >= FAKE_PATH)
        abort();
    snprintf(node->path, sizeof node->path, "%s", path);
    snprintf(node->value, sizeof node->value, "%s", value);
    fake_xen_change(xen, path);
}

void fake_xen_remove(struct fake_xen *xen, const char *path)
{
    size_t len = strlen(path);

    for (size_t i = 0; i < FAKE_NODES; i++)
        if (strncmp(xen->nodes[i].path, path, len) == 0 && (!xen->nodes[i].path[len] || xen->nodes[i].path[len] == '/'))
            xen->nodes[i].path[0] = '\0';
    fake_xen_change(xen, path);
}
