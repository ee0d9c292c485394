/*
** redis_greet.c - the first batch on a connection: AUTH, CLIENT SETNAME, SELECT, PING, and ROLE where only a master
** will do.
**
** They go out in one write; the first answer that is an error decides. The password is in plain memory only from here
** to the end of that write: `out` has room reserved so that growing leaves no copy behind, and is wiped when it was
** sent. Threads: the loop's.
*/
#include "net/redis_conn_impl.h"

#include <stdio.h>

#define GREETING_ROOM 4096

static bool is_credentials(dsc_str text) {
  static const char *const starts[] = {"NOAUTH",
                                       "WRONGPASS",
                                       "NOPERM",
                                       "ERR AUTH",
                                       "ERR invalid password",
                                       "ERR Client sent AUTH",
                                       "ERR invalid username-password"};
  for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
    if (dsc_str_starts(text, dsc_str_of(starts[i]))) return true;
  }
  return false;
}

/* True when the answer to ROLE says master; else the connection is over. */
static bool is_master(dsc_redis_conn *conn, const dsc_redis_reply *role) {
  bool odd = role->type != DSC_REDIS_ARRAY || role->count == 0 || role->items[0]->type != DSC_REDIS_STRING;
  dsc_why why;
  if (!odd && dsc_str_equal(role->items[0]->str, DSC_STR_LITERAL("master"))) return true;
  dsc_fail(&why, DSC_EREGISTRY, "it is no master (its role is %.*s)", odd ? 7 : (int)role->items[0]->str.n,
           odd ? "unknown" : role->items[0]->str.p);
  dsc_redis_conn_lose(conn, DSC_EREGISTRY, why.text);
  return false;
}

static void on_greeted(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_redis_conn *conn = ud;
  (void)why;
  if (err || conn->state != DSC_REDIS_GREETING) return;
  for (size_t i = 0; i < n; i++) {
    bool is_role = conn->master_only && i == n - 1;
    if (!is_role && replies[i]->type == DSC_REDIS_STATUS) continue;
    if (is_role && replies[i]->type != DSC_REDIS_ERROR) {
      if (!is_master(conn, replies[i])) return;
      continue;
    }
    if (replies[i]->type != DSC_REDIS_ERROR) {
      dsc_redis_conn_lose(conn, DSC_EPROTOCOL, "an odd answer to the greeting");
      return;
    }
    /* the name is a courtesy: a narrow ACL or an old server may refuse it */
    dsc_str text = replies[i]->str;
    if (i == conn->naming &&
        (dsc_str_starts(text, DSC_STR_LITERAL("NOPERM")) || dsc_str_starts(text, DSC_STR_LITERAL("ERR unknown")))) {
      continue;
    }
    bool denied = is_credentials(text);
    dsc_redis_conn_drop(conn, denied ? DSC_REDIS_DOWN_DENIED : DSC_REDIS_DOWN_UNREACHABLE, DSC_EREGISTRY, text.p);
    return;
  }
  conn->state = DSC_REDIS_READY;
  conn->events.on_ready(conn->events.ud);
}

static void add_words(dsc_redis_conn *conn, size_t n, const dsc_str *words, size_t *count) {
  dsc_redis_command command = {n, words};
  if (!conn->out.err && dsc_redis_format(&conn->out, &command) != DSC_OK) conn->out.err = DSC_ENOMEM;
  (*count)++;
}

typedef struct auth {
  dsc_redis_conn *conn;
  size_t *count;
} auth;

static void add_auth(void *ud, dsc_str password) {
  auth *a = ud;
  dsc_str words[3] = {DSC_STR_LITERAL("AUTH")};
  size_t n = 1;
  if (a->conn->user) words[n++] = dsc_str_of(a->conn->user);
  words[n++] = password;
  add_words(a->conn, n, words, a->count);
  a->conn->wipe = true;
}

static dsc_err write_greeting(dsc_redis_conn *conn, size_t *count) {
  static const char room[GREETING_ROOM];
  dsc_buf_add(&conn->out, room, sizeof room);
  if (conn->out.err) return conn->out.err;
  dsc_buf_reset(&conn->out);
  auth a = {conn, count};
  if (conn->password && !dsc_secret_use(conn->password, add_auth, &a)) return DSC_EIO;
  if (!conn->password && conn->user) add_auth(&a, dsc_str_of(""));
  conn->naming = *count;
  add_words(conn, 3, (dsc_str[]){DSC_STR_LITERAL("CLIENT"), DSC_STR_LITERAL("SETNAME"), dsc_str_of(conn->name)}, count);
  if (conn->db != 0) {
    char db[16];
    snprintf(db, sizeof db, "%u", conn->db);
    add_words(conn, 2, (dsc_str[]){DSC_STR_LITERAL("SELECT"), dsc_str_of(db)}, count);
  }
  /* the only one of these that a server refuses while it is loading its data */
  add_words(conn, 1, (dsc_str[]){DSC_STR_LITERAL("PING")}, count);
  if (conn->master_only) add_words(conn, 1, (dsc_str[]){DSC_STR_LITERAL("ROLE")}, count);
  return conn->out.err;
}

void dsc_redis_greet_begin(dsc_redis_conn *conn) {
  size_t count = 0;
  conn->state = DSC_REDIS_GREETING;
  dsc_err err = write_greeting(conn, &count);
  dsc_redis_batch *b = err ? NULL : dsc_redis_conn_new_batch(conn, count, on_greeted, conn);
  if (!b) {
    dsc_redis_conn_lose(conn, err ? err : DSC_ENOMEM, "could not build the greeting");
    return;
  }
  dsc_list_push(&conn->batches, &b->link);
  int rc = conn->tls ? 0 : dsc_redis_conn_start_reading(conn); /* with TLS it reads since the handshake */
  if (rc < 0) {
    dsc_redis_conn_lose(conn, DSC_EIO, uv_strerror(rc));
  } else {
    dsc_redis_conn_flush(conn);
  }
}
