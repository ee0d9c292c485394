/*
** host.h - a host of the core as tests need one: its callbacks write down that they ran, and do what the test asks.
*/
#ifndef DSC_SPEC_CORE_HOST_H
#define DSC_SPEC_CORE_HOST_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"
#include "core/discover.h"

typedef struct host host;

struct host {
  dsc_discoverer *d;
  dsc_frame frame;
  dsc_why why;
  char order[512]; /* a letter for each callback: route, next, answered (response), event, log */
  void (*on_route)(host *h, dsc_app_client *ac);
  void (*on_next)(host *h, dsc_app_client *ac);
  void (*on_response)(host *h, dsc_app_client *ac);
  void (*on_event)(host *h);
  void (*on_log)(host *h);
  dsc_err route_err, next_err;
  int choice; /* of the nodes in `next`; -1: none */
  size_t offered;
  dsc_node *answered; /* borrowed */
  dsc_err answer_err;
  int answer_status;
  int events[DSC_EVENT_COUNT];
  dsc_log_record record;
  int depth, deepest;
  void *ud;
};

static inline void host_note(host *h, char letter) {
  size_t n = strlen(h->order);
  if (n + 1 < sizeof h->order) h->order[n] = letter, h->order[n + 1] = '\0';
}

static inline dsc_err host_route(void *ctx, void *ud, dsc_app_client *ac, dsc_why *why) {
  host *h = ud;
  (void)ctx;
  host_note(h, 'r');
  if (h->on_route) h->on_route(h, ac);
  return h->route_err ? dsc_fail(why, h->route_err, "the route says no") : DSC_OK;
}

static inline dsc_err host_next(void *ctx, void *ud, dsc_app_client *ac, dsc_node *const *nodes, size_t n,
                                dsc_node **chosen, dsc_why *why) {
  host *h = ud;
  (void)ctx;
  host_note(h, 'n');
  h->offered = n;
  if (h->on_next) h->on_next(h, ac);
  *chosen = h->choice >= 0 && (size_t)h->choice < n ? nodes[h->choice] : NULL;
  return h->next_err ? dsc_fail(why, h->next_err, "the balancer says no") : DSC_OK;
}

static inline void host_response(void *ctx, void *ud, dsc_app_client *ac, dsc_node *node, dsc_err err, int status,
                                 const dsc_headers *headers, double seconds) {
  host *h = ud;
  (void)ctx, (void)seconds;
  host_note(h, 'a');
  assert_int_equal(headers != NULL, status != 0);
  h->answered = node;
  h->answer_err = err;
  h->answer_status = status;
  if (h->on_response) h->on_response(h, ac);
}

static inline void host_event(void *ctx, void *ud, const dsc_event *event) {
  host *h = ud;
  (void)ctx;
  host_note(h, 'e');
  h->events[event->kind]++;
  if (h->on_event) h->on_event(h);
}

static inline void host_log(void *ctx, void *ud, const dsc_log_record *record) {
  host *h = ud;
  (void)ctx;
  host_note(h, 'l');
  h->record = *record;
  if (h->on_log) h->on_log(h);
}

/* All callbacks; a test takes away what it does not want. */
static inline dsc_hooks host_hooks(host *h) {
  return (dsc_hooks){.ud = h,
                     .route = host_route,
                     .next = host_next,
                     .response = host_response,
                     .on_event = host_event,
                     .on_log = host_log};
}

static inline void host_hook(host *h) {
  dsc_hooks hooks = host_hooks(h);
  dsc_discoverer_set_hooks(h->d, &hooks);
}

static inline dsc_options host_options(const char *registry) {
  dsc_options options;
  dsc_options_defaults(&options);
  options.registry = dsc_str_of(registry);
  options.has_log_level = true;
  options.log_level = DSC_LOG_OFF;
  return options;
}

/* Makes a discoverer that writes nothing to stderr. */
static inline void host_new(host *h, const char *registry) {
  dsc_options options = host_options(registry);
  memset(h, 0, sizeof *h);
  assert_int_equal(dsc_discoverer_new(&h->d, &options, &h->why), DSC_OK);
}

/* The same for those whose records are looked at. */
static inline void host_new_talking(host *h, const char *registry) {
  dsc_options options = host_options(registry);
  memset(h, 0, sizeof *h);
  options.log_level = DSC_LOG_INFO;
  assert_int_equal(dsc_discoverer_new(&h->d, &options, &h->why), DSC_OK);
}

static inline void host_free(host *h) {
  assert_true(dsc_discoverer_free(h->d, true));
  h->d = NULL;
}

static inline void host_enter(host *h) {
  assert_int_equal(dsc_discoverer_enter(h->d, &h->frame, h, &h->why), DSC_OK);
}

static inline void host_leave(host *h) {
  dsc_discoverer_leave(&h->frame);
}

static inline void host_set(host *h, const char *app, const char *addr, uint32_t weight) {
  dsc_frame frame;
  assert_int_equal(dsc_discoverer_enter(h->d, &frame, h, &h->why), DSC_OK);
  assert_int_equal(dsc_discoverer_set_node(&frame, dsc_str_of(app), dsc_str_of(addr), weight, NULL, &h->why), DSC_OK);
  dsc_discoverer_leave(&frame);
}

static inline dsc_err host_configure(host *h, const char *app, const dsc_call_config *wanted) {
  dsc_frame frame;
  dsc_call_config *config = NULL;
  assert_int_equal(dsc_call_config_new(&config, wanted, &h->why), DSC_OK);
  dsc_err err = dsc_discoverer_enter(h->d, &frame, h, &h->why);
  if (!err) {
    err = dsc_discoverer_configure(&frame, dsc_str_of(app), config, NULL, &h->why);
    dsc_discoverer_leave(&frame);
  }
  dsc_call_config_unref(config);
  return err;
}

static inline void host_deadline(host *h, const char *app, uint32_t deadline_ms) {
  dsc_call_config config;
  dsc_call_config_defaults(&config);
  config.deadline_ms = deadline_ms;
  assert_int_equal(host_configure(h, app, &config), DSC_OK);
}

/* Picks in a frame of its own; NULL with h->why: none. */
static inline dsc_node *host_pick(host *h, const char *app) {
  dsc_frame frame;
  dsc_node *node = NULL;
  assert_int_equal(dsc_discoverer_enter(h->d, &frame, h, &h->why), DSC_OK);
  dsc_err err = dsc_discoverer_pick(&frame, dsc_str_of(app), (dsc_str){0}, NULL, &node, &h->why);
  dsc_discoverer_leave(&frame);
  assert_int_equal(err == DSC_OK, node != NULL);
  return node;
}

static inline void host_done(host *h, dsc_node *node, dsc_outcome outcome) {
  dsc_frame frame;
  assert_int_equal(dsc_discoverer_enter(h->d, &frame, h, &h->why), DSC_OK);
  dsc_discoverer_done(&frame, node, outcome);
  dsc_discoverer_leave(&frame);
}

static inline dsc_request host_request(const char *app) {
  return (dsc_request){.app = dsc_str_of(app), .method = dsc_str_of("GET"), .path = dsc_str_of("/")};
}

static inline dsc_result *host_send(host *h, const dsc_request *request) {
  dsc_frame frame;
  assert_int_equal(dsc_discoverer_enter(h->d, &frame, h, &h->why), DSC_OK);
  dsc_result *result = dsc_discoverer_call(&frame, request);
  dsc_discoverer_leave(&frame);
  assert_non_null(result);
  return result;
}

static inline dsc_result *host_get(host *h, const char *app) {
  dsc_request request = host_request(app);
  return host_send(h, &request);
}

/* The sum of what the nodes of an app have in flight, as a picture shows it. */
static inline uint64_t host_in_flight(host *h) {
  dsc_stats *stats = dsc_discoverer_stats(h->d);
  uint64_t in_flight = stats->total.in_flight;
  dsc_stats_free(stats);
  return in_flight;
}

/* An address of this machine on which nobody listens. */
static inline const char *host_dead_addr(void) {
  static char text[32];
  static uint32_t number; /* no two are the same */
  struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + ++number % 250)};
  socklen_t len = sizeof sin;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof sin), 0);
  getsockname(fd, (struct sockaddr *)&sin, &len);
  close(fd);
  snprintf(text, sizeof text, "%s:%u", inet_ntoa(sin.sin_addr), ntohs(sin.sin_port));
  return text;
}

#endif
