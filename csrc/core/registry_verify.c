/*
** registry_verify.c - messages that are believed only after the registry itself was read (verify_push).
**
** Whoever may PUBLISH could otherwise send calls, and tokens with them, to any address, or take nodes away. With
** verify_push a message only makes the app be read soon (many messages, one read). A node that was announced comes with
** its row. One that said goodbye goes when the read finds no living row of it: two witnesses, so it is not doubted as a
** missing row alone is.
**
** Invariant: app->byes holds at most MAX_BYES addresses; what does not fit becomes stale like any missing row.
** Threads: the loop's (memory: any), under the registry's lock.
*/
#include "base/mem.h"
#include "core/registry_impl.h"

#define MAX_BYES  1024
#define GATHER_MS 20 /* messages that come together are one read */

/* An address that said goodbye. */
typedef struct bye {
  bool asked; /* the read under way began after it */
  size_t n;
  char addr[DSC_ADDR_MAX];
} bye;

static void note_bye(dsc_followed *app, const char *addr) {
  dsc_str text = dsc_str_of(addr);
  bye *known = dsc_map_get(&app->byes, text);
  if (known) {
    known->asked = false;
    return;
  }
  bye *b = app->byes.count < MAX_BYES ? dsc_mem_zalloc(1, sizeof *b) : NULL;
  if (!b) return;
  b->n = text.n;
  memcpy(b->addr, text.p, text.n);
  if (dsc_map_put(&app->byes, (dsc_str){b->addr, b->n}, b, NULL)) dsc_mem_free(b);
}

void dsc_registry_verify_message_locked(dsc_followed *app, const dsc_addr *addr, uint32_t weight, uint64_t now) {
  if (weight == 0) note_bye(app, addr->text);
  if (!app->want_read && app->hold_ms < now + GATHER_MS) app->hold_ms = now + GATHER_MS;
  app->want_read = true;
  dsc_registry_run_arm_locked(app->registry, dsc_registry_app_step_locked(app, now));
}

void dsc_registry_verify_begin_locked(dsc_followed *app) {
  size_t at = 0;
  bye *b;
  while ((b = dsc_map_next(&app->byes, &at)) != NULL) b->asked = true;
}

static void forget(dsc_followed *app, bye *b) {
  dsc_map_take(&app->byes, (dsc_str){b->addr, b->n});
  dsc_mem_free(b);
}

/* A living row speaks against the goodbye. */
static void drop_contradicted(dsc_followed *app, const dsc_store_row *rows, size_t n) {
  for (size_t i = 0; i < n && app->byes.count > 0; i++) {
    dsc_addr addr;
    if (!rows[i].alive || dsc_addr_parse(&addr, rows[i].addr, NULL)) continue;
    bye *b = dsc_map_get(&app->byes, dsc_str_of(addr.text));
    if (b && b->asked) forget(app, b);
  }
}

static bye *next_asked(const dsc_followed *app) {
  size_t at = 0;
  bye *b;
  while ((b = dsc_map_next(&app->byes, &at)) != NULL)
    if (b->asked) return b;
  return NULL;
}

void dsc_registry_verify_end_locked(dsc_followed *app, const dsc_store_row *rows, size_t n) {
  dsc_changes changes;
  bye *b;
  if (app->byes.count == 0) return;
  drop_contradicted(app, rows, n);
  dsc_changes_init(&changes);
  while ((b = next_asked(app)) != NULL) {
    dsc_table_goodbye(app->table, (dsc_str){b->addr, b->n}, &changes);
    forget(app, b);
  }
  dsc_registry_tell_changes(app->registry, app->table, &changes);
}

void dsc_registry_verify_forget_locked(dsc_followed *app) {
  size_t at = 0;
  bye *b;
  while ((b = dsc_map_next(&app->byes, &at)) != NULL) dsc_mem_free(b);
  dsc_map_clear(&app->byes);
}
