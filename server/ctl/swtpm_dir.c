/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `instance import --from-swtpm` reads, with the caller's rights: swtpm's directory and the key that swtpm was given.
 * The file itself is not looked into: it is hostile, and the server has a sandbox for it.
 */
#include "server/ctl/ctl.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/text.h"
#include "server/crypto/crypto.h"

#define STATE       "tpm-00.permall"
#define VOLATILE    "tpm-00.volatilestate"
#define SAVED       "tpm-00.savestate"
#define STATE_20    "tpm2-00.permall"
#define LOCK        ".lock"
#define FILE_MAX    (128u * 1024)
#define KEY_MAX     66  /* "0x", 64 digits */
#define PASSWORD_MAX 4096
#define ROUNDS      1000
#define SALT        "swtpm"

static bool is_there(int dir, const char *name)
{
    struct stat st;

    return !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
}

/* ---- The lock: swtpm has it for writing as long as it runs ---- */

static int locked_by(const char *path, int fd, struct vt_why *why)
{
    struct flock held = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    int pid = !fcntl(fd, F_GETLK, &held) && held.l_type != F_UNLCK ? (int)held.l_pid : 0;

    return vt_fail(why, VT_ECONFLICT, "%s/" LOCK " is locked by process %d: swtpm runs on this TPM; shut its guest down, and "
                   "then import it", path, pid);
}

static int take_lock(struct swtpm_dir *dir, const char *path, int fd, struct vt_why *why)
{
    struct flock wanted = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

    dir->lock = openat(fd, LOCK, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (dir->lock < 0 && errno == ENOENT)
        return VT_OK;
    if (dir->lock < 0)
        return vt_fail(why, errno == EACCES ? VT_EPERM : VT_EIO, "%s/" LOCK " cannot be opened: %s", path, strerror(errno));
    return fcntl(dir->lock, F_SETLK, &wanted) ? locked_by(path, dir->lock, why) : VT_OK;
}

/* ---- The state ---- */

static int check_kind(const char *path, int fd, struct vt_why *why)
{
    if (is_there(fd, VOLATILE))
        return vt_fail(why, VT_ECONFLICT, "%s/" VOLATILE " is there: this TPM was suspended with its guest, and its PCRs and "
                       "sessions would be lost; resume the guest under swtpm, shut it down, and import it then", path);
    if (is_there(fd, STATE))
        return VT_OK;
    if (is_there(fd, STATE_20))
        return vt_fail(why, VT_ENOTSUP, "%s holds a TPM 2.0 (" STATE_20 "): this server's are TPM 1.2, and none can become "
                       "one; nothing was imported", path);
    return vt_fail(why, VT_ENOTFOUND, "%s holds no TPM of swtpm: there is no " STATE " (give the directory of swtpm's "
                   "--tpmstate dir=)", path);
}

static int read_state(struct swtpm_dir *dir, const char *path, int fd, struct vt_why *why)
{
    struct stat st;
    ssize_t n = 0;
    int file = openat(fd, STATE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

    if (file < 0 || fstat(file, &st) || !S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_MAX) {
        int err = file < 0 ? vt_fail(why, errno == EACCES ? VT_EPERM : VT_EIO, "%s/" STATE " cannot be opened: %s", path,
                                     strerror(errno))
                           : vt_fail(why, VT_EUSAGE, "%s/" STATE " is no file, or has more than %u bytes", path, FILE_MAX);
        if (file >= 0)
            close(file);
        return err;
    }
    dir->file = vt_calloc(1, FILE_MAX + 1);
    while (dir->file && dir->len <= FILE_MAX && (n = read(file, dir->file + dir->len, FILE_MAX + 1 - dir->len)) > 0)
        dir->len += (size_t)n;
    close(file);
    if (!dir->file)
        return VT_ENOMEM;
    if (n < 0 || dir->len != (size_t)st.st_size)
        return vt_fail(why, VT_EIO, "%s/" STATE " cannot be read: %s", path, n < 0 ? strerror(errno) : "it changes");
    return VT_OK;
}

int swtpm_dir_open(struct swtpm_dir *dir, const char *path, struct vt_why *why)
{
    int err, fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *dir = (struct swtpm_dir){.lock = -1};
    if (fd < 0)
        return vt_fail(why, errno == ENOENT ? VT_ENOTFOUND : errno == EACCES ? VT_EPERM : VT_EUSAGE,
                       "%s cannot be opened: %s (give the directory of swtpm's --tpmstate dir=)", path, strerror(errno));
    err = take_lock(dir, path, fd, why);
    if (!err)
        err = check_kind(path, fd, why);
    if (!err)
        err = read_state(dir, path, fd, why);
    dir->has_saved_state = is_there(fd, SAVED);
    close(fd);
    if (err)
        swtpm_dir_close(dir);
    return err;
}

void swtpm_dir_close(struct swtpm_dir *dir)
{
    vt_free_wiped(dir->file, dir->file ? FILE_MAX + 1 : 0);
    dir->file = NULL;
    if (dir->lock >= 0)
        close(dir->lock);
    dir->lock = -1;
}

/* ---- Keys, as swtpm's --key reads them ---- */

/* Digits up to white space, "0x" before them or not. */
static bool from_hex(const char *text, size_t len, uint8_t key[SWTPM_KEY], size_t *key_len)
{
    char digits[2 * SWTPM_KEY + 1];
    size_t count = 0;

    if (len > 2 && text[0] == '0' && text[1] == 'x')
        text += 2, len -= 2;
    while (count < len && text[count] && !isspace((unsigned char)text[count]))
        count++;
    if (count != SWTPM_KEY && count != 2 * SWTPM_KEY)
        return false;
    memcpy(digits, text, count);
    digits[count] = '\0';
    *key_len = count / 2;
    count = vt_unhex(key, *key_len, digits);
    vt_wipe(digits, sizeof digits);
    return count != 0;
}

int swtpm_key_from_file(const char *path, const char *format, uint8_t key[SWTPM_KEY], size_t *len, struct vt_why *why)
{
    bool binary = format && strcmp(format, "binary") == 0;
    uint8_t *bytes;
    size_t count;
    int err;

    if (format && !binary && strcmp(format, "hex") != 0)
        return vt_fail(why, VT_EUSAGE, "--key-format is hex or binary, not %.40s", format);
    err = load_file(path, KEY_MAX + 64, &bytes, &count, why);
    if (err)
        return err;
    if (!binary && !from_hex((const char *)bytes, count, key, len))
        err = vt_fail(why, VT_EUSAGE, "%s has no key: 32 or 64 hexadecimal digits (--key-format binary: 16 or 32 bytes)", path);
    else if (binary && count != SWTPM_KEY / 2 && count != SWTPM_KEY)
        err = vt_fail(why, VT_EUSAGE, "%s has %zu bytes, and a key has 16 or 32 (--key-format hex: digits)", path, count);
    else if (binary)
        memcpy(key, bytes, *len = count);
    vt_free_wiped(bytes, count);
    return err;
}

/* All of the file, a line feed at its end, too. */
int swtpm_key_from_password(const char *path, const char *kdf, uint8_t key[SWTPM_KEY], struct vt_why *why)
{
    uint8_t hash[CR_SHA512_LEN], *bytes;
    size_t count;
    int err;

    if (kdf && strcmp(kdf, "pbkdf2") != 0 && strcmp(kdf, "sha512") != 0)
        return vt_fail(why, VT_EUSAGE, "--kdf is pbkdf2 or sha512, not %.40s", kdf);
    err = load_file(path, PASSWORD_MAX, &bytes, &count, why);
    if (err)
        return err;
    err = kdf && strcmp(kdf, "sha512") == 0
              ? cr_sha512(hash, bytes, count)
              : cr_pbkdf2_sha512(hash, SWTPM_KEY, bytes, count, SALT, sizeof SALT - 1, ROUNDS);
    memcpy(key, hash, SWTPM_KEY);
    vt_wipe(hash, sizeof hash);
    vt_free_wiped(bytes, count);
    return err;
}
