/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hand-off between the core and whatever loop drives it: timers, descriptors, work on other threads, waking from
 * other threads. loop_uv.c is the one that runs in production; tests may bring another. All on the loop thread unless
 * said otherwise; callbacks run on the loop thread.
 */
#ifndef VTPM_CORE_LOOP_H
#define VTPM_CORE_LOOP_H

#include "server/base/err.h"

struct uv_loop_s;
struct loop;
struct loop_timer;
struct loop_fd;
struct loop_wake;

/* Borrows the uv loop. Returns owned. */
int loop_new(struct loop **loop, struct uv_loop_s *uv) VT_USE_RESULT;
/* All timers, descriptors and wakes must be freed before. May be NULL. */
void loop_free(struct loop *loop);

/* At start-up only: turns the loop until a callback has set *flag. */
void loop_run_until(struct loop *loop, const bool *flag);

/* Monotonic microseconds (CLOCK_BOOTTIME): the engines' ticks and all time-outs. Any thread. */
uint64_t loop_now_us(void);

int loop_timer_new(struct loop *loop, struct loop_timer **timer, void (*fn)(void *arg), void *arg) VT_USE_RESULT;
/* One shot after delay_ms; starting again moves it. */
void loop_timer_start(struct loop_timer *timer, uint64_t delay_ms);
void loop_timer_stop(struct loop_timer *timer);
/* May be NULL. */
void loop_timer_free(struct loop_timer *timer);

enum { LOOP_READ = 1, LOOP_WRITE = 2 };
/* Watches a descriptor that the caller owns and closes after loop_fd_free. */
int loop_fd_new(struct loop *loop, struct loop_fd **watch, int fd, void (*fn)(void *arg, int events), void *arg) VT_USE_RESULT;
/* What to wait for now; 0: nothing. */
void loop_fd_events(struct loop_fd *watch, int events);
void loop_fd_free(struct loop_fd *watch);

/* fn runs on the loop some time after loop_wake_up, which any thread (and a signal handler) may call. */
int loop_wake_new(struct loop *loop, struct loop_wake **wake, void (*fn)(void *arg), void *arg) VT_USE_RESULT;
void loop_wake_up(struct loop_wake *wake);
void loop_wake_free(struct loop_wake *wake);

/* work runs on a worker thread, then done on the loop. */
int loop_work(struct loop *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg) VT_USE_RESULT;

#endif
