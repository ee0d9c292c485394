/*
** cluster_peer.h - scripted nodes of a Redis Cluster, and a client of it as a test sees it. Header only.
**
** What a node answers depends on the first word of the key (see answer()), what its map says on map_of[its index].
*/
#ifndef DSC_SPEC_CLUSTER_PEER_H
#define DSC_SPEC_CLUSTER_PEER_H

#include <netinet/tcp.h>

#include "base/mem.h"
#include "net/cluster_impl.h"
#include "net/peer.h"
#include "support/redis_server.h"

typedef enum map_kind { MAP_ONE, MAP_TWO, MAP_EMPTY, MAP_ERROR, MAP_DENIED, MAP_MUTE } map_kind;

static peer peers[2];
static atomic_int map_of[2];
static atomic_int trouble; /* so many commands with keys "later" are still refused; "cut" once while it is not 0 */
static atomic_int flood;   /* counts strange addresses */

typedef struct said {
  size_t n;
  char words[4][64]; /* cut to that */
} said;

static bool read_line(peer_conn *c, char *line, size_t size) {
  char *end;
  while (!(end = memchr(c->rest, '\n', c->rest_len)))
    if (!peer_fill(c)) return false;
  size_t n = (size_t)(end - c->rest);
  snprintf(line, size, "%.*s", (int)(n > 0 ? n - 1 : 0), c->rest);
  peer_drop(c, n + 1);
  return true;
}

static bool read_word(peer_conn *c, char *word, size_t size) {
  char line[32];
  if (!read_line(c, line, sizeof line)) return false;
  size_t left = strtoul(line + 1, NULL, 10) + 2, at = 0;
  while (left > 0) {
    if (c->rest_len == 0 && !peer_fill(c)) return false;
    size_t n = left < c->rest_len ? left : c->rest_len;
    for (size_t i = 0; i < n && at + 1 < size && c->rest[i] != '\r'; i++) word[at++] = c->rest[i];
    peer_drop(c, n);
    left -= n;
  }
  word[at] = '\0';
  return true;
}

static bool read_command(peer_conn *c, said *s) {
  char line[32], more[64];
  memset(s, 0, sizeof *s);
  if (!read_line(c, line, sizeof line)) return false;
  s->n = strtoul(line + 1, NULL, 10);
  for (size_t i = 0; i < s->n; i++)
    if (!read_word(c, i < 4 ? s->words[i] : more, 64)) return false;
  return true;
}

static bool say_map(peer_conn *c, int kind) {
  char text[256];
  if (kind == MAP_MUTE) return true;
  if (kind == MAP_EMPTY) return peer_say(c, "*0\r\n");
  if (kind == MAP_ERROR) return peer_say(c, "-ERR This instance has cluster support disabled\r\n");
  if (kind == MAP_DENIED) return peer_say(c, "-NOPERM this user has no permissions\r\n");
  int n = snprintf(text, sizeof text, "*%d\r\n*3\r\n:0\r\n:%d\r\n*2\r\n$9\r\n127.0.0.1\r\n:%u\r\n",
                   kind == MAP_ONE ? 1 : 2, kind == MAP_ONE ? 16383 : 8191, peers[0].port);
  if (kind == MAP_TWO)
    snprintf(text + n, sizeof text - (size_t)n, "*3\r\n:8192\r\n:16383\r\n*2\r\n$0\r\n\r\n:%u\r\n", peers[1].port);
  return peer_say(c, text);
}

static bool redirect_to(peer_conn *c, const char *word, const char *key, const char *host, int port) {
  char text[160];
  snprintf(text, sizeof text, "-%s %u %s:%d\r\n", word, dsc_cluster_slot(dsc_str_of(key)), host, port);
  return peer_say(c, text);
}

static bool is_key(const said *s, const char *start) {
  return strncmp(s->words[1], start, strlen(start)) == 0;
}

static bool take_one(atomic_int *count) {
  int left = atomic_load(count);
  while (left > 0)
    if (atomic_compare_exchange_weak(count, &left, left - 1)) return true;
  return false;
}

/* Answers a command that has a key; false ends the connection. */
static bool answer(peer *p, peer_conn *c, const said *s, bool asking) {
  int me = p == &peers[1];
  const char *key = s->words[1];
  char text[64];
  atomic_fetch_add(&p->requests, 1);
  if (is_key(s, "hold")) return true;
  if (is_key(s, "error")) return peer_say(c, "-ERR no\r\n");
  if (is_key(s, "odd")) return peer_say(c, "-MOVED somewhere\r\n");
  if (is_key(s, "cut") && take_one(&trouble)) return false;
  if (is_key(s, "later") && take_one(&trouble))
    return peer_say(c, me ? "-TRYAGAIN not yet\r\n" : "-CLUSTERDOWN The cluster is down\r\n");
  if (is_key(s, "round")) return redirect_to(c, "MOVED", key, "127.0.0.1", peers[!me].port);
  if (is_key(s, "moved") && !me) return redirect_to(c, "MOVED", key, "", peers[1].port);
  if (is_key(s, "ask") && !me) return redirect_to(c, "ASK", key, "127.0.0.1", peers[1].port);
  if (is_key(s, "ask") && !asking) return peer_say(c, "-ERR nobody asked\r\n");
  if (is_key(s, "flood")) {
    int n = atomic_fetch_add(&flood, 1);
    snprintf(text, sizeof text, "127.9.%d.%d", n / 250 % 250, n % 250 + 1);
    return redirect_to(c, "MOVED", key, text, 1);
  }
  snprintf(text, sizeof text, "+%d\r\n", me);
  return peer_say(c, text);
}

static void play_node(peer *p, peer_conn *c) {
  said s;
  bool asking = false, goes_on = true;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  while (goes_on && read_command(c, &s)) {
    if (strcmp(s.words[0], "CLUSTER") == 0) {
      goes_on = say_map(c, atomic_load(&map_of[p == &peers[1]]));
    } else if (strcmp(s.words[0], "PING") == 0) {
      goes_on = peer_say(c, "+PONG\r\n");
    } else if (s.n < 2 || strcmp(s.words[0], "CLIENT") == 0 || strcmp(s.words[0], "SELECT") == 0) {
      goes_on = peer_say(c, "+OK\r\n");
    } else {
      goes_on = answer(p, c, &s, asking);
    }
    asking = strcmp(s.words[0], "ASKING") == 0;
  }
}

static void start_peers(map_kind first, map_kind second) {
  atomic_store(&map_of[0], first);
  atomic_store(&map_of[1], second);
  atomic_store(&trouble, 0);
  for (int i = 0; i < 2; i++) peer_start(&peers[i], play_node, NULL);
}

static void stop_peers(void) {
  for (int i = 0; i < 2; i++) peer_stop(&peers[i]);
}

/* ---- the client */

/* What a test sees. */
typedef struct view {
  dsc_loop *loop;
  dsc_resolver *resolver;
  dsc_cluster *cluster;
  int ups, downs, renewed, maps, dones, never;
  bool denied;
  dsc_err err;
  size_t n;              /* replies of the last batch */
  char why[256];         /* of the last event or batch that failed */
  char replies[1100][8]; /* of the last batch, cut */
} view;

static void on_up(void *ud) {
  view *v = ud;
  v->ups++;
  dsc_loop_stop(v->loop);
}

static void on_down(void *ud, bool denied, const char *why) {
  view *v = ud;
  v->downs++;
  v->denied = denied;
  snprintf(v->why, sizeof v->why, "%s", why);
  dsc_loop_stop(v->loop);
}

static void on_renewed(void *ud) {
  ((view *)ud)->renewed++;
}

static void on_map(void *ud) {
  ((view *)ud)->maps++;
}

static void on_done(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  view *v = ud;
  v->dones++;
  v->err = err;
  v->n = n;
  if (err) snprintf(v->why, sizeof v->why, "%s", why);
  for (size_t i = 0; i < n && i < 1100; i++)
    snprintf(v->replies[i], sizeof v->replies[i], "%s", replies[i]->str.p ? replies[i]->str.p : "");
  dsc_loop_stop(v->loop);
}

static void run(view *v, const int *until, int ms) {
  uint64_t end = test_now_ms() + (uint64_t)(ms * test_slow());
  while (*until == 0 && test_now_ms() < end) dsc_loop_run(v->loop, 10);
}

/* Opens over nodes at `ports`; commands have `ms`. False: no memory. */
static bool open_view(view *v, const uint16_t *ports, size_t n, uint32_t ms) {
  static char local[] = "127.0.0.1";
  dsc_registry_host hosts[4];
  dsc_err err;
  memset(v, 0, sizeof *v);
  v->loop = dsc_loop_new(&err);
  v->resolver = v->loop ? dsc_resolver_new(v->loop) : NULL;
  for (size_t i = 0; i < n; i++) hosts[i] = (dsc_registry_host){local, ports[i]};
  dsc_cluster_options options = {.hosts = hosts, .n_hosts = n, .name = "test", .command_timeout_ms = ms};
  options.connect_timeout_ms = (uint32_t)(1000 * test_slow());
  dsc_cluster_events events = {v, on_up, on_down, on_renewed, on_map};
  if (v->resolver) v->cluster = dsc_cluster_new(v->loop, v->resolver, &options, &events);
  return v->cluster != NULL;
}

static void close_view(view *v) {
  if (v->cluster) {
    int told = v->dones;
    dsc_cluster_close(v->cluster);
    dsc_cluster_close(v->cluster);
    assert_int_equal(v->dones, told); /* nothing is told from inside */
    uint64_t end = test_now_ms() + (uint64_t)(3000 * test_slow());
    while (!dsc_cluster_is_closed(v->cluster) && test_now_ms() < end) dsc_loop_run(v->loop, 1);
    assert_true(dsc_cluster_is_closed(v->cluster));
    dsc_cluster_free(v->cluster);
  }
  dsc_resolver_free(v->resolver);
  dsc_loop_free(v->loop);
}

/* Opens over the first peer, or both, and waits until it is up. */
static void open_up(view *v, size_t n, uint32_t ms) {
  assert_true(open_view(v, (uint16_t[]){peers[0].port, peers[1].port}, n, ms));
  dsc_cluster_start(v->cluster);
  dsc_cluster_start(v->cluster);
  assert_int_equal(v->ups + v->maps, 0); /* nothing is told from inside */
  run(v, &v->ups, 5000);
  assert_int_equal(v->ups, 1);
}

/* Sees to it that it is up, as whoever owns it does: after each failure it is started anew. */
static void stand(view *v) {
  uint64_t end = test_now_ms() + (uint64_t)(8000 * test_slow());
  while (!v->cluster->up && test_now_ms() < end) {
    dsc_cluster_start(v->cluster);
    dsc_loop_run(v->loop, 10);
  }
  assert_true(v->cluster->up);
}

/* Sends one command of each key. */
static dsc_err give(view *v, const char *word, const char *const *keys, size_t n, bool ordered, dsc_str value) {
  dsc_str words[1100][3];
  dsc_redis_command commands[1100];
  for (size_t i = 0; i < n; i++) {
    words[i][0] = dsc_str_of(word);
    words[i][1] = dsc_str_of(keys[i]);
    words[i][2] = value;
    commands[i] = (dsc_redis_command){value.p ? 3 : 2, words[i]};
  }
  v->dones = 0;
  return dsc_cluster_send(v->cluster, commands, n, ordered, on_done, v);
}

/* ... and waits for the end; the keys are given one after the other, with NULL at the end. */
static void ask(view *v, bool ordered, const char *const *keys) {
  size_t n = 0;
  while (keys[n]) n++;
  assert_int_equal(give(v, "GET", keys, n, ordered, (dsc_str){NULL, 0}), DSC_OK);
  assert_int_equal(v->dones, 0); /* nothing is told from inside */
  run(v, &v->dones, 8000);
  assert_int_equal(v->dones, 1);
}

#define KEYS(...) ((const char *const[]){__VA_ARGS__, NULL})

#endif
