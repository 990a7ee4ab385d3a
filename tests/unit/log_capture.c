/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/log_capture.h"

#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char text[65536];

static void on_log(enum vt_log_level level VT_UNUSED, const char *line)
{
    size_t len;

    pthread_mutex_lock(&lock);
    len = strlen(text);
    snprintf(text + len, sizeof text - len, "%s\n", line);
    pthread_mutex_unlock(&lock);
}

void log_capture(enum vt_log_level level)
{
    vt_log_to(on_log, level);
}

void log_forget(void)
{
    pthread_mutex_lock(&lock);
    text[0] = '\0';
    pthread_mutex_unlock(&lock);
}

bool log_says(const char *wanted)
{
    bool says;

    pthread_mutex_lock(&lock);
    says = strstr(text, wanted) != NULL;
    pthread_mutex_unlock(&lock);
    return says;
}

const char *log_captured(void)
{
    return text;
}
