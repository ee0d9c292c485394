/*
** registry_fuzz.c - what a registry may hold and say: rows and messages, in any order, with and without verify_push.
**
** Input: lines. "M<text>" is a message; "R" with rows "<addr> <weight> <key's value>" parted by ";" is what the next
** read finds (no value: the key is missing).
*/
#include "base/clock.h"
#include "core/registry_impl.h"
#include "fuzz.h"

#define MAX_ROWS 64

static dsc_store_ops ops;
static dsc_str rows_text;

/* Stands for the store's read. */
static dsc_err read_rows(dsc_store *store, dsc_str app, dsc_store_done done, void *ud) {
  dsc_store_row rows[MAX_ROWS];
  dsc_store_answer answer = {.rows = rows, .why = ""};
  (void)store, (void)app;
  for (dsc_str rest = rows_text; rest.p && rest.n && answer.n < MAX_ROWS;) {
    dsc_str row = dsc_str_cut(&rest, ';');
    dsc_str addr = dsc_str_cut(&row, ' '), weight = dsc_str_cut(&row, ' ');
    rows[answer.n++] = (dsc_store_row){addr, weight, row, row.n > 0};
  }
  done(ud, &answer);
  return DSC_OK;
}

static void on_nothing(void *ud, const dsc_event *event) {
  (void)ud, (void)event;
}

static void on_no_log(void *ud, const dsc_log_record *record) {
  (void)ud, (void)record;
}

static void on_no_change(void *ud) {
  (void)ud;
}

static void play(dsc_registry *r, dsc_str script) {
  const dsc_str app = DSC_STR_LITERAL("web");
  while (script.p && script.n) {
    dsc_str line = next_line(&script);
    if (line.n == 0) continue;
    dsc_str rest = {line.p + 1, line.n - 1};
    dsc_followed *followed = dsc_map_get(&r->apps, app);
    if (line.p[0] == 'M') {
      dsc_registry_app_on_message(r, app, rest);
    } else if (line.p[0] == 'R' && followed && !followed->reading) {
      rows_text = rest;
      dsc_registry_read_begin_locked(followed, dsc_clock_now_ms());
    }
  }
}

static void check(dsc_table *table) {
  dsc_node_array *nodes = dsc_table_snapshot(table);
  for (size_t i = 0; nodes && i < nodes->count; i++) {
    dsc_addr addr;
    EXPECT(dsc_addr_parse(&addr, dsc_node_addr(nodes->nodes[i]), NULL) == DSC_OK);
    EXPECT(atomic_load(&nodes->nodes[i]->weight) <= DSC_WEIGHT_MAX);
  }
  dsc_node_array_unref(nodes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  dsc_registry *r = NULL;
  dsc_table *table = NULL;
  dsc_why why;
  dsc_listener listener = {.on_event = on_nothing, .on_log = on_no_log, .on_change = on_no_change};
  dsc_registry_options options = {.verify_push = size > 0 && data[0] == 'V'};
  dsc_list_init(&listener.link);
  dsc_registry_timing_defaults(&options.timing);
  EXPECT(dsc_registry_config_parse(&options.config, DSC_STR_LITERAL("memory://fuzz"), NULL, NULL, &why) == DSC_OK);
  EXPECT(dsc_registry_open(&r, &options, &listener, &why) == DSC_OK);
  EXPECT(dsc_registry_follow(r, DSC_STR_LITERAL("web"), true, false, &table, &why) == DSC_OK);
  pthread_mutex_lock(r->lock);
  const dsc_store_ops *real = r->store->ops;
  ops = *real;
  ops.read = read_rows;
  r->store->ops = &ops;
  rows_text = (dsc_str){NULL, 0}; /* not what the input before this one held */
  play(r, input(data, size));
  r->store->ops = real;
  pthread_mutex_unlock(r->lock);
  check(table);
  dsc_table_unref(table);
  dsc_registry_close(r, &listener, true);
  dsc_registry_config_clear(&options.config);
  return 0;
}
