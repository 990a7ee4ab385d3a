/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/vault.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/list.h"
#include "server/base/log.h"

/* What is known of a page lies outside of it. */
struct page {
    struct vt_list node;
    struct vt_key *slots;
    size_t size; /* of the mapping */
    size_t used;
    bool taken[]; /* one per slot */
};

struct vt_vault {
    struct vt_list pages;
    bool has_said; /* that no more can be locked */
};

/* ---- Whole pages ---- */

int vt_locked_map(void **at, size_t *size, const char *what, struct vt_why *why)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    *size = (*size + page - 1) / page * page;
    *at = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (*at == MAP_FAILED)
        return vt_fail(why, VT_ENOMEM, "no memory for %s: %s", what, strerror(errno));
    if (mlock(*at, *size)) {
        int e = errno;

        munmap(*at, *size);
        return vt_fail(why, VT_ENOMEM,
                       "the memory of %s cannot be locked: %s. Raise the limit: LimitMEMLOCK=8M (or "
                       "more) in the systemd unit, or `ulimit -l 8192` before the start",
                       what, strerror(e));
    }
    /* Best effort: old kernels do without, and core dumps are off anyway. */
    (void)madvise(*at, *size, MADV_DONTDUMP);
    return VT_OK;
}

void vt_locked_unmap(void *at, size_t size)
{
    vt_wipe(at, size);
    munmap(at, size);
}

/* ---- Pages of slots ---- */

static size_t slots_of(const struct page *page)
{
    return page->size / sizeof *page->slots;
}

static int page_new(struct page **out, struct vt_why *why)
{
    size_t size = 1;
    struct page *page;
    void *at;
    int err = vt_locked_map(&at, &size, "instance keys", why);

    if (err)
        return err;
    page = vt_calloc(1, sizeof *page + size / sizeof *page->slots * sizeof page->taken[0]);
    if (!page) {
        vt_locked_unmap(at, size);
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    }
    vt_list_init(&page->node);
    page->slots = at;
    page->size = size;
    *out = page;
    return VT_OK;
}

static void page_free(struct page *page)
{
    vt_list_remove(&page->node);
    vt_locked_unmap(page->slots, page->size);
    vt_free(page);
}

static struct page *page_with_room(struct vt_vault *vault)
{
    VT_LIST_EACH(&vault->pages, node)
    {
        struct page *page = VT_LIST_ENTRY(node, struct page, node);

        if (page->used < slots_of(page))
            return page;
    }
    return NULL;
}

static struct page *page_of(struct vt_vault *vault, const struct vt_key *key)
{
    VT_LIST_EACH(&vault->pages, node)
    {
        struct page *page = VT_LIST_ENTRY(node, struct page, node);
        const uintptr_t first = (uintptr_t)page->slots;

        if ((uintptr_t)key >= first && (uintptr_t)key < first + page->size)
            return page;
    }
    return NULL;
}

static struct vt_key *take_slot(struct page *page)
{
    size_t i = 0;

    while (page->taken[i])
        i++;
    assert(i < slots_of(page));
    page->taken[i] = true;
    page->used++;
    return &page->slots[i];
}

/* ---- The vault ---- */

static int add_page(struct vt_vault *vault, struct vt_why *why)
{
    struct page *page;
    int err = page_new(&page, why);

    if (!err)
        vt_list_add(&vault->pages, &page->node);
    return err;
}

int vt_vault_new(struct vt_vault **out, struct vt_why *why)
{
    struct vt_vault *vault = VT_NEW(struct vt_vault);
    int err;

    if (!vault)
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    vt_list_init(&vault->pages);
    err = add_page(vault, why);
    if (err) {
        vt_free(vault);
        return err;
    }
    *out = vault;
    return VT_OK;
}

void vt_vault_free(struct vt_vault *vault)
{
    if (!vault)
        return;
    VT_LIST_EACH(&vault->pages, node)
    {
        struct page *page = VT_LIST_ENTRY(node, struct page, node);

        assert(!page->used);
        page_free(page);
    }
    vt_free(vault);
}

int vt_vault_take(struct vt_vault *vault, struct vt_key **key, struct vt_why *why)
{
    struct vt_why own = {""};
    struct page *page = page_with_room(vault);

    why = why ? why : &own;
    if (!page && add_page(vault, why)) {
        if (!vault->has_said)
            vt_error("keys: %s", why->text);
        vault->has_said = true;
        return VT_ENOMEM;
    }
    vault->has_said = false;
    *key = take_slot(page ? page : page_with_room(vault));
    return VT_OK;
}

static bool is_only(const struct vt_vault *vault)
{
    return vault->pages.next == vault->pages.prev;
}

void vt_vault_give(struct vt_vault *vault, struct vt_key *key)
{
    struct page *page = key ? page_of(vault, key) : NULL;

    if (!key)
        return;
    assert(page && page->taken[key - page->slots]);
    vt_key_wipe(key);
    page->taken[key - page->slots] = false;
    page->used--;
    if (!page->used && !is_only(vault))
        page_free(page);
}
