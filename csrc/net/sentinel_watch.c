/*
** sentinel_watch.c - the subscription to +switch-master on one Sentinel, and asking all of them again every 10 s.
**
** A Sentinel that cannot be watched any more goes to the end of the list and the next one is watched, after a pause
** that grows while none of them can. What was missed meanwhile is found by asking all soon after the subscription
** stands.
** Threads: the loop's.
*/
#include "net/sentinel_impl.h"

#include "base/random.h"

#define REASK_MS 10000

static void open_watch(dsc_sentinel *s);

static void retry_later(dsc_sentinel *s) {
  uint64_t top = s->watch_tries < 4 ? (uint64_t)200 << s->watch_tries : 2000;
  s->watch_tries++;
  dsc_timer_start(s->rewatch, dsc_random_between_ms(50, top));
}

/* "<name> <old host> <old port> <new host> <new port>" */
static void on_message(void *ud, dsc_str channel, dsc_str text) {
  dsc_sentinel *s = ud;
  dsc_addr master;
  (void)channel; /* subscribed to one alone */
  dsc_str rest = text, name = dsc_str_cut(&rest, ' ');
  if (s->closing || !dsc_str_equal(name, dsc_str_of(s->master))) return;
  dsc_str_cut(&rest, ' ');
  dsc_str_cut(&rest, ' ');
  dsc_str host = dsc_str_cut(&rest, ' ');
  if (!rest.p || !dsc_sentinel_read_addr(&master, host, rest)) return;
  if (!s->settled.port || !dsc_sentinel_same(&master, &s->settled)) s->events.on_switch(s->events.ud, &master);
}

static void on_subscribed(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_sentinel *s = ud;
  (void)why;
  (void)n;
  if (err || s->closing) return;
  if (replies[0]->type != DSC_REDIS_ARRAY) {
    dsc_redis_conn_close(s->watcher); /* it does not allow that; perhaps another one does */
    return;
  }
  s->watch_tries = 0;
  dsc_timer_start(s->reask, dsc_random_between_ms(10, 1000));
}

static void on_ready(void *ud) {
  dsc_sentinel *s = ud;
  dsc_redis_command command = {2, (dsc_str[]){DSC_STR_LITERAL("SUBSCRIBE"), DSC_STR_LITERAL("+switch-master")}};
  if (s->closing || dsc_redis_conn_send(s->watcher, &command, 1, on_subscribed, s) == DSC_OK) return;
  dsc_redis_conn_close(s->watcher);
}

static void on_down(void *ud, dsc_redis_down down, const char *why) {
  dsc_sentinel *s = ud;
  (void)down;
  (void)why; /* questions tell what is wrong with it */
  s->watcher = NULL;
  if (s->closing) return;
  dsc_sentinel_move(s, &s->watched, false);
  retry_later(s);
}

static void open_watch(dsc_sentinel *s) {
  dsc_redis_conn_events events = {s, on_ready, on_message, on_down};
  s->watched = s->entries[0].addr;
  s->watcher = dsc_sentinel_open(s, &s->watched, true, &events);
  if (!s->watcher) retry_later(s);
}

void dsc_sentinel_on_rewatch(void *ud) {
  dsc_sentinel *s = ud;
  open_watch(s);
}

void dsc_sentinel_on_reask(void *ud) {
  dsc_sentinel *s = ud;
  if (s->settled.port) dsc_sentinel_compare(s);
  dsc_timer_start(s->reask, dsc_random_jitter_ms(REASK_MS, 0.1));
}

void dsc_sentinel_watch_begin(dsc_sentinel *s) {
  if (s->watch_begun) return;
  s->watch_begun = true;
  open_watch(s);
}
