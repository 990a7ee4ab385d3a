/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target without a fuzzer: feeds it every file given, and every file of every folder given.
 *     fuzz_X FILE|DIR ...       replays; with a folder, the target's own seeds, too; fails if there was nothing to replay
 *     fuzz_X --seeds DIR        writes the target's own seeds
 */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "server/base/alloc.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (1u << 20)

/* Targets with a mutator of their own name it; nothing calls it here. */
size_t LLVMFuzzerMutate(uint8_t *bytes VT_UNUSED, size_t len, size_t cap VT_UNUSED)
{
    return len;
}

/* Exactly as long as it is: a sanitizer then sees what is read past it. */
static void feed(void *arg, const char *name VT_UNUSED, const void *bytes, size_t len)
{
    uint8_t *exact = malloc(len ? len : 1);
    int *count = arg;

    FUZZ_CHECK(exact);
    if (len)
        memcpy(exact, bytes, len);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    ++*count;
}

static int replay_file(const char *path)
{
    VT_AUTOFREE uint8_t *whole = vt_calloc(1, INPUT_MAX);
    FILE *file = fopen(path, "rb");
    int count = 0;
    size_t len;

    if (!whole || !file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    len = fread(whole, 1, INPUT_MAX, file);
    fclose(file);
    feed(&count, path, whole, len);
    return count;
}

static int replay_folder(const char *path, DIR *dir)
{
    struct dirent *entry;
    int count = 0;

    while (count >= 0 && (entry = readdir(dir))) {
        char name[4096];
        int one;

        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        one = replay_file(name);
        count = one < 0 ? one : count + one;
    }
    return count;
}

static int replay(const char *path)
{
    DIR *dir = opendir(path);
    int count;

    if (!dir)
        return replay_file(path);
    count = replay_folder(path, dir);
    closedir(dir);
    if (count >= 0)
        fuzz_seeds(feed, &count);
    return count;
}

static void write_seed(void *arg, const char *name, const void *bytes, size_t len)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);
    file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, len, file) != len || fclose(file)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    int sum = 0;

    LLVMFuzzerInitialize(&argc, &argv);
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0) {
        fuzz_seeds(write_seed, argv[2]);
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        int count = replay(argv[i]);

        if (count < 0)
            return 1;
        sum += count;
    }
    printf("%d inputs replayed\n", sum);
    return sum ? 0 : 1;
}
