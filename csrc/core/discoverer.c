/*
** discoverer.c - a discoverer's life: made, entered, left, stopped, freed.
**
** The innermost frame is the only state that says "the owner is inside". Stopping inside a frame announces and
** marks; the outermost frame that leaves does the rest. After a fork nothing is touched but the object itself:
** locks and sockets are the parent's.
*/
#include "base/clock.h"
#include "base/mem.h"
#include "core/future_impl.h"
#include "core/websocket_impl.h"

#define GOODBYE_MS      1000
#define GOODBYE_DOWN_MS 100
#define LAST_ROUNDS     100 /* of deliveries at the end: a callback that always asks for another must not hold it up */

void dsc_options_defaults(dsc_options *options) {
  *options = (dsc_options){.call_retry_times = 10, .start_timeout_ms = 3000, .header_names = dsc_headers_default_names};
  dsc_registry_timing_defaults(&options->timing);
}

static void on_event(void *ud, const dsc_event *event) {
  dsc_discoverer *d = ud;
  if (event->kind == DSC_EVENT_ISOLATED) dsc_discoverer_note_isolated(d);
  dsc_notices_event(&d->notices, event);
}

static void on_log(void *ud, const dsc_log_record *record) {
  dsc_discoverer *d = ud;
  dsc_notices_log(&d->notices, record);
  dsc_notices_ring(&d->notices);
}

static void on_change(void *ud) {
  dsc_discoverer *d = ud;
  atomic_store(&d->changed, true);
  dsc_notices_ring(&d->notices);
}

static void free_relay(char **relay) {
  for (size_t i = 0; relay && relay[i]; i++) dsc_mem_free(relay[i]);
  dsc_mem_free(relay);
}

static dsc_err copy_relay(dsc_discoverer *d, const char *const *relay) {
  if (!relay) return DSC_OK;
  size_t n = 0;
  while (relay[n]) n++;
  d->relay = dsc_mem_zalloc(n + 1, sizeof *d->relay);
  if (!d->relay) return DSC_ENOMEM;
  for (size_t i = 0; i < n; i++)
    if (!(d->relay[i] = dsc_mem_strdup(dsc_str_of(relay[i])))) return DSC_ENOMEM;
  return DSC_OK;
}

static dsc_err copy_name(const char *given, char **own, const char **name) {
  if (!given) return DSC_OK;
  if (!(*own = dsc_mem_strdup(dsc_str_of(given)))) return DSC_ENOMEM;
  *name = *own;
  return DSC_OK;
}

static dsc_err copy_options(dsc_discoverer *d, const dsc_options *options) {
  d->call_retry_times = options->call_retry_times;
  d->start_timeout_ms = options->start_timeout_ms;
  d->has_log_level = options->has_log_level;
  d->log_level = options->log_level;
  d->balancer = options->balancer;
  d->names = dsc_headers_default_names;
  if (options->has_log_level) atomic_store(&d->notices.level, (int)options->log_level);
  dsc_err err = copy_relay(d, options->relay);
  if (!err) err = copy_name(options->header_names.from_app, &d->from_app, &d->names.from_app);
  if (!err) err = copy_name(options->header_names.from_node, &d->from_node, &d->names.from_node);
  if (!err) err = copy_name(options->header_names.client_ip, &d->client_ip, &d->names.client_ip);
  if (!err) err = copy_name(options->header_names.user_agent, &d->user_agent, &d->names.user_agent);
  return err;
}

static dsc_err open_registry(dsc_discoverer *d, const dsc_options *options, dsc_why *why) {
  dsc_registry_options registry = {.timing = options->timing,
                                   .shared = options->shared,
                                   .signals = options->signals,
                                   .verify_push = options->verify_push};
  dsc_err err = dsc_registry_timing_check(&registry.timing, why);
  if (err) return err;
  err = dsc_registry_config_parse(&registry.config, options->registry, options->user, options->password, why);
  if (err) return err;
  err = dsc_registry_open(&d->registry, &registry, &d->listener, why);
  dsc_registry_config_clear(&registry.config);
  return err;
}

/* Frees the memory of a discoverer whose registry and loop are gone. */
static void release(dsc_discoverer *d) {
  size_t at = 0;
  for (dsc_app_entry *entry; (entry = dsc_map_next(&d->apps, &at));) dsc_discoverer_free_entry(entry);
  dsc_map_clear(&d->apps);
  dsc_map_clear(&d->marks);
  dsc_map_clear(&d->picks);
  dsc_call_queue_clear(d);
  dsc_call_config_unref(d->default_config);
  dsc_tls_unref(d->default_tls);
  dsc_call_config_unref(d->base_config);
  free_relay(d->relay);
  dsc_mem_free(d->from_app);
  dsc_mem_free(d->from_node);
  dsc_mem_free(d->client_ip);
  dsc_mem_free(d->user_agent);
  dsc_mem_free(d->own_app);
  dsc_mem_free(d->own_addr);
  dsc_stats_free(d->last_stats);
  dsc_loop_fd_free(d->fd);
  for (dsc_link *link; (link = dsc_list_pop(&d->told));) dsc_mem_free(DSC_LIST_ENTRY(link, dsc_notice, link));
  dsc_notices_fini(&d->notices);
  pthread_mutex_destroy(&d->prober_lock);
  dsc_mem_free(d);
}

dsc_err dsc_discoverer_new(dsc_discoverer **out, const dsc_options *options, dsc_why *why) {
  *out = NULL;
  dsc_discoverer *d = dsc_mem_zalloc(1, sizeof *d);
  if (!d) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  d->generation = dsc_fork_generation();
  d->listener = (dsc_listener){.on_event = on_event, .on_log = on_log, .on_change = on_change, .ud = d};
  dsc_list_init(&d->listener.link);
  dsc_map_init(&d->apps);
  dsc_map_init(&d->marks);
  dsc_map_init(&d->picks);
  dsc_map_init(&d->gates);
  pthread_mutex_init(&d->prober_lock, NULL);
  dsc_list_init(&d->mark_list);
  dsc_list_init(&d->ready);
  dsc_list_init(&d->calls);
  dsc_list_init(&d->websockets);
  dsc_list_init(&d->deliveries);
  dsc_list_init(&d->futures);
  dsc_list_init(&d->told);
  dsc_notices_init(&d->notices);
  dsc_err err = copy_options(d, options);
  if (err) dsc_fail(why, err, "%s", dsc_err_text(err));
  if (!err && options->hooks) dsc_discoverer_set_hooks(d, options->hooks);
  if (!err) err = open_registry(d, options, why);
  if (err) {
    release(d);
    return err;
  }
  *out = d;
  return DSC_OK;
}

void dsc_discoverer_begin_callback(dsc_discoverer *d) {
  d->callbacks++;
}

void dsc_discoverer_end_callback(dsc_discoverer *d) {
  d->callbacks--;
}

dsc_err dsc_discoverer_enter(dsc_discoverer *d, dsc_frame *frame, void *ctx, dsc_why *why) {
  if (dsc_discoverer_is_forked(d)) return dsc_fail(why, DSC_EFORKED, "%s", dsc_err_text(DSC_EFORKED));
  if (d->stopping) return dsc_fail(why, DSC_ESTOPPED, "%s", dsc_err_text(DSC_ESTOPPED));
  *frame = (dsc_frame){.d = d, .ctx = ctx, .outer = d->frame, .in_callback = d->callbacks > 0};
  d->frame = frame;
  return DSC_OK;
}

/* Ends the hold on the registry and everything on the loop. Frees no memory that stats or is_* still need. */
static void shut(dsc_discoverer *d, bool wait) {
  dsc_notices_set_bell(&d->notices, NULL);
  dsc_discoverer_detach_fd(d);
  dsc_future_detach_all(d);
  dsc_websocket_cut_all(d);
  dsc_stream_cut_all(d);
  dsc_http_free(d->http);
  dsc_ws_free(d->ws);
  dsc_resolver_free(d->resolver);
  dsc_loop_free(d->loop);
  d->http = NULL;
  d->ws = NULL;
  d->resolver = NULL;
  d->loop = NULL;
  dsc_discoverer_end_prober(d);
  dsc_discoverer_clear_marks(d);
  dsc_discoverer_clear_picks(d);
  if (wait) d->last_stats = dsc_discoverer_stats(d);
  dsc_registry_close(d->registry, &d->listener, wait);
  d->registry = NULL;
  d->stopped = true;
}

static void say_goodbye(dsc_discoverer *d, bool wait) {
  if (!d->own_app || d->handed_over) return;
  uint32_t ms = dsc_registry_is_up(d->registry) ? GOODBYE_MS : GOODBYE_DOWN_MS;
  /* else nobody works on it meanwhile */
  bool has_thread = dsc_registry_kind_has_servers(dsc_registry_get_kind(d->registry));
  dsc_registry_unregister(d->registry, dsc_str_of(d->own_app), dsc_str_of(d->own_addr), wait && has_thread ? ms : 0);
}

/* True while a call may still end by itself; a stream waits for somebody to read it. */
static bool has_calls(const dsc_discoverer *d) {
  for (const dsc_link *link = d->calls.next; link != &d->calls; link = link->next)
    if (DSC_LIST_ENTRY(link, const dsc_call, link)->wait != DSC_CALL_WAITS_STREAM) return true;
  return false;
}

/* Lets calls that nobody waits for end, until the drain is over. */
static void drain_calls(dsc_frame *frame) {
  dsc_discoverer *d = frame->d;
  while (has_calls(d) && dsc_clock_now_ms() < d->drain_until_ms && !dsc_discoverer_is_forked(d)) {
    if (dsc_discoverer_run_once(frame, NULL, -1)) return;
    dsc_discoverer_deliver(frame);
  }
}

/* The rest of a stop, outside all frames: calls that are left end, then everything is shut. */
static void finish_stop(dsc_discoverer *d, void *ctx) {
  dsc_frame frame = {.d = d, .ctx = ctx};
  d->frame = &frame;
  drain_calls(&frame);
  dsc_call_break_all(d, DSC_ESTOPPED);
  dsc_call_drain(&frame, NULL);
  dsc_websocket_stop_all(&frame);
  for (int i = 0; i < LAST_ROUNDS && !dsc_list_empty(&d->deliveries); i++) dsc_discoverer_deliver(&frame);
  if (dsc_discoverer_is_forked(d)) { /* by one of these callbacks */
    d->stopped = true;
  } else {
    shut(d, true);
    dsc_discoverer_hand_out(d, ctx, NULL);
  }
  d->frame = NULL;
}

void dsc_discoverer_stop(dsc_discoverer *d, void *ctx, uint32_t drain_ms) {
  if (dsc_discoverer_is_forked(d)) {
    d->stopping = d->stopped = true;
    return;
  }
  if (d->stopping) return;
  d->stopping = true;
  d->drain_until_ms = dsc_clock_now_ms() + drain_ms;
  say_goodbye(d, d->frame == NULL);
  if (!d->frame)
    finish_stop(d, ctx);
  else if (drain_ms == 0)
    dsc_call_break_all(d, DSC_ESTOPPED);
}

void dsc_discoverer_leave(dsc_frame *frame) {
  dsc_discoverer *d = frame->d;
  if (!frame->outer && !dsc_discoverer_is_forked(d)) {
    dsc_discoverer_hand_out(d, frame->ctx, frame->turn);
    if (d->stopping && !d->stopped && !dsc_discoverer_is_forked(d)) finish_stop(d, frame->ctx);
    if (d->fd) dsc_discoverer_settle_fd(frame);
  }
  d->frame = frame->outer;
}

/* Ends the calls of futures, telling nobody. */
static void break_quietly(dsc_discoverer *d) {
  dsc_frame frame = {.d = d};
  dsc_future_silence_all(d);
  d->frame = &frame;
  dsc_call_break_all(d, DSC_ESTOPPED);
  dsc_call_drain(&frame, NULL);
  d->frame = NULL;
}

bool dsc_discoverer_free(dsc_discoverer *d, bool wait) {
  if (!d) return true;
  if (d->frame) return false;
  if (dsc_discoverer_is_forked(d)) return true; /* the parent's locks and sockets: forgotten, not freed */
  if (!d->stopped) {
    if (!d->stopping) say_goodbye(d, wait);
    d->stopping = true;
    d->hooks = (dsc_hooks){0}; /* their host may be half collected */
    break_quietly(d);
    shut(d, wait);
  }
  release(d);
  return true;
}

bool dsc_discoverer_stopped(const dsc_discoverer *d) {
  return d->stopping;
}

void dsc_discoverer_set_hooks(dsc_discoverer *d, const dsc_hooks *hooks) {
  d->hooks = hooks ? *hooks : (dsc_hooks){0};
  dsc_log_level level = d->has_log_level ? d->log_level : d->hooks.on_log ? DSC_LOG_INFO : DSC_LOG_WARN;
  atomic_store(&d->notices.level, (int)level);
  atomic_store(&d->notices.to_host, d->hooks.on_log != NULL);
  atomic_store(&d->notices.want_events, d->hooks.on_event != NULL);
}

void dsc_discoverer_set_balancer(dsc_discoverer *d, const dsc_balancer_ops *ops) {
  d->balancer = ops;
}
