/*
** store_redis_op_impl.h - what store_redis_op.c (small commands) and store_redis_read.c (whole reads) share: one thing
** under way. All of it: loop's thread, under the registry's lock.
*/
#ifndef DSC_CORE_STORE_REDIS_OP_IMPL_H
#define DSC_CORE_STORE_REDIS_OP_IMPL_H

#include "core/store_redis_impl.h"

typedef struct dsc_store_redis_op {
  /* constant */
  redis_store *store;
  dsc_store_done done;
  void *ud;
  /* under the registry's lock */
  dsc_redis_reply *fields; /* read: the HGETALL while the keys are asked for */
  /* constant */
  uint32_t weight;
  size_t app_n, addr_n;
  char names[]; /* app, then addr */
} dsc_store_redis_op;

#define WORDS(...)                                                                                                     \
  {                                                                                                                    \
    sizeof((dsc_str[]){__VA_ARGS__}) / sizeof(dsc_str), (dsc_str[]) {                                                  \
      __VA_ARGS__                                                                                                      \
    }                                                                                                                  \
  }
#define L(text) DSC_STR_LITERAL(text)
#define T(text) dsc_str_of(text)

static inline dsc_str dsc_store_redis_op_app(const dsc_store_redis_op *o) {
  return (dsc_str){o->names, o->app_n};
}

static inline dsc_str dsc_store_redis_op_addr(const dsc_store_redis_op *o) {
  return (dsc_str){o->names + o->app_n, o->addr_n};
}

/* Makes an op. Loop's thread. Fails: DSC_EREGISTRY (not up), DSC_ENOMEM. */
dsc_err dsc_store_redis_op_begin(dsc_store_redis_op **op, dsc_store *base, dsc_str app, dsc_str addr,
                                 dsc_store_done done, void *ud);

/* Completes an op and frees it. Loop's thread. */
void dsc_store_redis_op_finish(dsc_store_redis_op *o, dsc_store_answer *answer);

/* Completes it with an error. Loop's thread. */
void dsc_store_redis_op_fail(dsc_store_redis_op *o, dsc_err err, const char *why);

/* The same after an answer that the server cannot mean: it is not asked any further. Loop's thread. */
void dsc_store_redis_op_fail_odd(dsc_store_redis_op *o);

/* Looks at what is common to all replies. Loop's thread. Returns true when the op was completed. */
bool dsc_store_redis_op_settled(dsc_store_redis_op *o, dsc_err err, const char *why, dsc_redis_reply **replies,
                                size_t n);

/* Sends the first commands of an op, which is freed if that fails. Loop's thread. Fails: as dsc_redis_conn_send(). */
dsc_err dsc_store_redis_op_send_first(dsc_store_redis_op *o, const dsc_redis_command *commands, size_t n,
                                      dsc_redis_done done);

/* Sends the second round trip of an op, which fails if that fails; `ordered` as in net/cluster.h. Loop's thread. */
void dsc_store_redis_op_send_next(dsc_store_redis_op *o, const dsc_redis_command *commands, size_t n, bool ordered,
                                  dsc_redis_done done);

#endif
