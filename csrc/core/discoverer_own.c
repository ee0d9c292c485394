/*
** discoverer_own.c - what a discoverer says about itself and sets by hand: its weight and metadata, nodes, relayed
** headers, log lines.
*/
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/discoverer_impl.h"

bool dsc_discoverer_registered(const dsc_discoverer *d) {
  if (!d->own_app || d->stopping || dsc_discoverer_is_forked(d)) return false;
  return dsc_registry_is_registered(d->registry, dsc_str_of(d->own_app), dsc_str_of(d->own_addr));
}

static dsc_err check_own(dsc_discoverer *d, dsc_why *why) {
  if (d->own_app) return DSC_OK;
  return dsc_fail(why, DSC_EINVALID, "this discoverer is not registered: it was made without an app and an address");
}

dsc_err dsc_discoverer_set_weight(dsc_frame *frame, uint32_t weight, dsc_why *why) {
  dsc_discoverer *d = frame->d;
  dsc_err err = check_own(d, why);
  if (err) return err;
  if (weight > DSC_WEIGHT_MAX) return dsc_fail(why, DSC_EINVALID, "weight: %u is not in 0..%d", weight, DSC_WEIGHT_MAX);
  err = dsc_registry_set_weight(d->registry, dsc_str_of(d->own_app), dsc_str_of(d->own_addr), weight);
  if (!err && weight) d->standby_until_ms = 0;
  return err ? dsc_fail(why, err, "weight: %s", dsc_err_text(err)) : DSC_OK;
}

dsc_err dsc_discoverer_drain(dsc_frame *frame, uint32_t ms, bool *over, dsc_why *why) {
  dsc_discoverer *d = frame->d;
  uint64_t now_ms = dsc_clock_now_ms();
  *over = !d->own_app;
  if (!d->own_app) return DSC_OK;
  if (!d->standby_until_ms) {
    dsc_err err = dsc_discoverer_set_weight(frame, 0, why);
    if (err) return err;
    d->standby_until_ms = now_ms + ms;
  }
  *over = now_ms >= d->standby_until_ms;
  return DSC_OK;
}

dsc_err dsc_discoverer_set_metadata(dsc_frame *frame, const char *metadata, dsc_why *why) {
  dsc_discoverer *d = frame->d;
  dsc_err err = check_own(d, why);
  if (err) return err;
  err = dsc_registry_set_metadata(d->registry, dsc_str_of(d->own_app), dsc_str_of(d->own_addr), metadata);
  return err ? dsc_fail(why, err, "metadata: %s", dsc_err_text(err)) : DSC_OK;
}

void dsc_discoverer_hand_over(dsc_frame *frame) {
  dsc_discoverer *d = frame->d;
  if (!d->own_app || d->handed_over) return;
  d->handed_over = true;
  dsc_registry_hand_over(d->registry, dsc_str_of(d->own_app), dsc_str_of(d->own_addr));
}

dsc_err dsc_discoverer_set_node(dsc_frame *frame, dsc_str app, dsc_str addr, uint32_t weight, const char *metadata,
                                dsc_why *why) {
  if (weight > DSC_WEIGHT_MAX) return dsc_fail(why, DSC_EINVALID, "weight: %u is not in 0..%d", weight, DSC_WEIGHT_MAX);
  return dsc_registry_set_node(frame->d->registry, app, addr, weight, metadata, why);
}

dsc_node_array *dsc_discoverer_nodes(dsc_discoverer *d, dsc_str app) {
  if (d->stopping || dsc_discoverer_is_forked(d)) return NULL;
  dsc_table *table = dsc_discoverer_find_table(d, app);
  if (!table) return NULL;
  dsc_discoverer_sweep_marks(d, dsc_clock_coarse_ms());
  dsc_node_array *nodes = dsc_table_snapshot(table);
  dsc_table_unref(table);
  return nodes;
}

dsc_err dsc_discoverer_relay(dsc_discoverer *d, dsc_headers *out, const dsc_headers *incoming,
                             const dsc_relay_peer *peer) {
  const char *const *list = d->relay ? (const char *const *)d->relay : dsc_headers_relay_default;
  return dsc_headers_relay(out, incoming, peer, list, &d->names);
}

/* A child's records have nowhere to go: the queue's lock is the parent's. */
static void put_record(dsc_discoverer *d, const dsc_log_record *record) {
  if (!dsc_discoverer_is_forked(d)) dsc_notices_log(&d->notices, record);
}

void dsc_discoverer_log(dsc_discoverer *d, dsc_log_level level, const char *text) {
  dsc_log_record record = {.time = dsc_clock_wall(), .level = level, .used_time_ms = -1};
  dsc_log_field(record.msg, sizeof record.msg, dsc_str_of(text));
  put_record(d, &record);
  dsc_discoverer_touch(d);
}

static dsc_log_record make_record(dsc_log_level level, const dsc_app_client *ac, dsc_str node, double seconds,
                                  const char *msg) {
  dsc_log_record record = {.time = dsc_clock_wall(), .level = level, .attempts = ac->attempts};
  record.used_time_ms = seconds * 1000;
  dsc_log_field(record.app, sizeof record.app, ac->app.s);
  dsc_log_field(record.method, sizeof record.method, ac->method.s);
  dsc_log_field(record.path, sizeof record.path, ac->path.s);
  dsc_log_field(record.node, sizeof record.node, node);
  dsc_log_field(record.msg, sizeof record.msg, dsc_str_of(msg));
  return record;
}

void dsc_discoverer_log_attempt(dsc_frame *frame, const dsc_request *request, const dsc_app_client *ac, dsc_str node,
                                dsc_err err, int status, double seconds, const char *why, dsc_str request_id) {
  dsc_discoverer *d = frame->d;
  bool failed = err != DSC_OK || (status >= 502 && status <= 504);
  /* who cancels calls, or stops with some under way, knows it */
  bool is_news = failed && err != DSC_ECANCELED && err != DSC_ESTOPPED;
  dsc_log_level level = is_news ? DSC_LOG_WARN : DSC_LOG_INFO;
  if (!request->on_log && (int)level < atomic_load_explicit(&d->notices.level, memory_order_relaxed)) return;
  const char *msg = !failed ? "call" : why && *why ? why : "attempt failed";
  dsc_log_record record = make_record(level, ac, node, seconds, msg);
  dsc_log_field(record.request_id, sizeof record.request_id, request_id);
  if (err != DSC_OK)
    dsc_log_field(record.error, sizeof record.error, dsc_str_of(dsc_err_name(err)));
  else if (failed)
    snprintf(record.error, sizeof record.error, "status %d", status);
  if (!request->on_log) {
    put_record(d, &record);
    return;
  }
  dsc_discoverer_begin_callback(d);
  request->on_log(frame->ctx, request->ud, &record);
  dsc_discoverer_end_callback(d);
}

void dsc_discoverer_app_client_log(dsc_frame *frame, dsc_app_client *ac, dsc_str node, double seconds, dsc_str error) {
  dsc_log_record record = make_record(error.n ? DSC_LOG_WARN : DSC_LOG_INFO, ac, node, seconds, "call made by hand");
  dsc_log_field(record.error, sizeof record.error, error);
  put_record(frame->d, &record);
}

const char *dsc_discoverer_version(void) {
  return DSC_VERSION;
}

dsc_stats *dsc_discoverer_stats(dsc_discoverer *d) {
  bool gone = d->registry == NULL || dsc_discoverer_is_forked(d);
  if (!gone) dsc_discoverer_sweep_marks(d, dsc_clock_coarse_ms());
  dsc_stats *stats = d->last_stats ? dsc_stats_copy(d->last_stats) : dsc_stats_new(gone ? NULL : d->registry);
  if (stats && !gone) dsc_notices_dropped(&d->notices, &stats->logs_dropped, &stats->events_dropped);
  return stats;
}
