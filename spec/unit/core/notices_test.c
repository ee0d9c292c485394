/*
** notices_test.c - the queue from other threads to the owner: order, bound, counts, bell, many writers.
*/
#include <fcntl.h>
#include <pthread.h>

#include "base/check.h"
#include "base/clock.h"
#include "core/notices.h"

static void tell(dsc_notices *n, dsc_log_level level, const char *text) {
  dsc_log_record record = {.level = level, .used_time_ms = -1};
  dsc_log_field(record.msg, sizeof record.msg, dsc_str_of(text));
  dsc_notices_log(n, &record);
}

static void happen(dsc_notices *n, dsc_event_kind kind) {
  dsc_event event;
  dsc_event_make(&event, kind, L("svc"), L("10.0.0.1:80"), NULL);
  dsc_notices_event(n, &event);
}

static void open_for_host(dsc_notices *n) {
  dsc_notices_init(n);
  atomic_store(&n->to_host, true);
  atomic_store(&n->want_events, true);
  atomic_store(&n->level, (int)DSC_LOG_INFO);
}

/* Takes one notice out of `items`; fails when there is none. */
static dsc_notice next_notice(dsc_link *items) {
  dsc_link *link = dsc_list_pop(items);
  assert_non_null(link);
  dsc_notice *notice = DSC_LIST_ENTRY(link, dsc_notice, link);
  dsc_notice copy = *notice;
  dsc_mem_free(notice);
  return copy;
}

static size_t drop_all(dsc_link *items) {
  size_t n = 0;
  for (dsc_link *link; (link = dsc_list_pop(items)); n++) dsc_mem_free(DSC_LIST_ENTRY(link, dsc_notice, link));
  return n;
}

TEST(keeps_the_order_of_logs_and_events) {
  dsc_notices n;
  dsc_link items;
  open_for_host(&n);
  dsc_list_init(&items);
  assert_false(dsc_notices_take(&n, &items));
  tell(&n, DSC_LOG_WARN, "one");
  happen(&n, DSC_EVENT_STALE);
  tell(&n, DSC_LOG_INFO, "three");
  assert_true(dsc_notices_take(&n, &items));
  assert_string_equal(next_notice(&items).record.msg, "one");
  assert_int_equal(next_notice(&items).event.kind, DSC_EVENT_STALE);
  assert_string_equal(next_notice(&items).record.msg, "three");
  assert_true(dsc_list_empty(&items));
  assert_false(dsc_notices_take(&n, &items));
  dsc_notices_fini(&n);
}

TEST(takes_only_what_the_host_wants) {
  dsc_notices n;
  dsc_link items;
  open_for_host(&n);
  dsc_list_init(&items);
  tell(&n, DSC_LOG_DEBUG, "below the level");
  atomic_store(&n.want_events, false);
  happen(&n, DSC_EVENT_STALE);
  assert_false(dsc_notices_take(&n, &items));
  atomic_store(&n.level, (int)DSC_LOG_OFF);
  tell(&n, DSC_LOG_ERROR, "off");
  assert_false(dsc_notices_take(&n, &items));
  dsc_notices_fini(&n);
}

/* Runs `work` with stderr in a file; returns what was written (static). */
static const char *caught(void (*work)(void)) {
  static char text[1024];
  char name[] = "/tmp/notices_test.XXXXXX";
  int file = mkstemp(name), before = dup(STDERR_FILENO);
  assert_true(file >= 0 && before >= 0);
  unlink(name);
  dup2(file, STDERR_FILENO);
  work();
  dup2(before, STDERR_FILENO);
  close(before);
  ssize_t n = pread(file, text, sizeof text - 1, 0);
  close(file);
  text[n > 0 ? n : 0] = '\0';
  return text;
}

static void speak_without_host(void) {
  dsc_notices n;
  dsc_link items;
  dsc_notices_init(&n);
  dsc_list_init(&items);
  tell(&n, DSC_LOG_WARN, "nobody listens");
  tell(&n, DSC_LOG_INFO, "not worth a line");
  assert_false(dsc_notices_take(&n, &items));
  dsc_notices_fini(&n);
}

TEST(goes_to_stderr_without_a_host) {
  const char *text = caught(speak_without_host);
  assert_non_null(strstr(text, "nobody listens"));
  assert_null(strstr(text, "not worth a line"));
}

TEST(is_bounded_and_counts_what_it_drops) {
  dsc_notices n;
  dsc_link items;
  uint64_t logs, events;
  open_for_host(&n);
  dsc_list_init(&items);
  for (int i = 0; i < DSC_NOTICES_MAX + 7; i++) {
    char text[16];
    snprintf(text, sizeof text, "%d", i);
    tell(&n, DSC_LOG_INFO, text);
  }
  for (int i = 0; i < DSC_NOTICES_MAX + 3; i++) happen(&n, DSC_EVENT_STALE);
  dsc_notices_dropped(&n, &logs, &events);
  assert_int_equal(logs, 7);
  assert_int_equal(events, 3);
  assert_true(dsc_notices_take(&n, &items));
  assert_string_equal(next_notice(&items).record.msg, "0"); /* the oldest stay */
  assert_int_equal(drop_all(&items), 2 * DSC_NOTICES_MAX - 1);
  tell(&n, DSC_LOG_INFO, "room again");
  assert_true(dsc_notices_take(&n, &items));
  assert_int_equal(drop_all(&items), 1);
  dsc_notices_fini(&n);
}

TEST(without_memory_they_count_as_dropped) {
  dsc_notices n;
  dsc_link items;
  uint64_t logs, events;
  open_for_host(&n);
  dsc_list_init(&items);
  dsc_mem_fail_at(1, true);
  tell(&n, DSC_LOG_WARN, "lost");
  happen(&n, DSC_EVENT_STALE);
  dsc_mem_fail_at(0, false);
  dsc_notices_dropped(&n, &logs, &events);
  assert_int_equal(logs, 1);
  assert_int_equal(events, 1);
  assert_false(dsc_notices_take(&n, &items));
  dsc_notices_fini(&n);
}

TEST(frees_what_nobody_took) {
  dsc_notices n;
  size_t before, after;
  dsc_mem_usage(&before, NULL);
  open_for_host(&n);
  tell(&n, DSC_LOG_WARN, "left");
  happen(&n, DSC_EVENT_STALE);
  dsc_notices_fini(&n);
  dsc_mem_usage(&after, NULL);
  assert_int_equal(after, before);
}

static void *ring_later(void *arg) {
  usleep(30000);
  happen(arg, DSC_EVENT_STALE);
  return NULL;
}

TEST(an_event_wakes_the_loop) {
  dsc_notices n;
  dsc_err err;
  pthread_t thread;
  dsc_link items;
  dsc_list_init(&items);
  open_for_host(&n);
  dsc_notices_ring(&n); /* no bell: nobody waits */
  dsc_loop *loop = dsc_loop_new(&err);
  assert_non_null(loop);
  dsc_notices_set_bell(&n, loop);
  pthread_create(&thread, NULL, ring_later, &n);
  uint64_t start = dsc_clock_now_ms();
  while (!dsc_notices_take(&n, &items) && dsc_clock_now_ms() < start + 20000) dsc_loop_run(loop, 10000);
  assert_true(dsc_clock_now_ms() < start + 9000);
  assert_int_equal(drop_all(&items), 1);
  pthread_join(thread, NULL);
  dsc_notices_set_bell(&n, NULL);
  dsc_loop_free(loop);
  happen(&n, DSC_EVENT_STALE); /* the loop is gone, nothing is rung */
  dsc_notices_fini(&n);
}

#define WRITERS 4
#define WRITES  2000

static void *write_many(void *arg) {
  for (int i = 0; i < WRITES; i++) {
    if (i % 2)
      tell(arg, DSC_LOG_INFO, "log");
    else
      happen(arg, DSC_EVENT_STALE);
  }
  return NULL;
}

TEST(many_threads_tell_one_owner) {
  dsc_notices n;
  dsc_err err;
  dsc_link items;
  pthread_t threads[WRITERS];
  uint64_t logs, events;
  size_t taken = 0;
  dsc_list_init(&items);
  open_for_host(&n);
  dsc_loop *loop = dsc_loop_new(&err);
  dsc_notices_set_bell(&n, loop);
  for (int i = 0; i < WRITERS; i++) pthread_create(&threads[i], NULL, write_many, &n);
  for (int i = 0; i < 200; i++) {
    dsc_loop_run(loop, 1);
    if (dsc_notices_take(&n, &items)) taken += drop_all(&items);
  }
  for (int i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
  if (dsc_notices_take(&n, &items)) taken += drop_all(&items);
  dsc_notices_dropped(&n, &logs, &events);
  assert_int_equal(taken + logs + events, WRITERS * WRITES);
  dsc_notices_set_bell(&n, NULL);
  dsc_loop_free(loop);
  dsc_notices_fini(&n);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keeps_the_order_of_logs_and_events),
      cmocka_unit_test(takes_only_what_the_host_wants),
      cmocka_unit_test(goes_to_stderr_without_a_host),
      cmocka_unit_test(is_bounded_and_counts_what_it_drops),
      cmocka_unit_test(without_memory_they_count_as_dropped),
      cmocka_unit_test(frees_what_nobody_took),
      cmocka_unit_test(an_event_wakes_the_loop),
      cmocka_unit_test(many_threads_tell_one_owner),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
