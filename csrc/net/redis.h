/*
** redis.h - Redis' protocol as values: commands to bytes, bytes to replies. The only door to hiredis, and to its
** codec alone.
**
** The bytes come from a peer that may be hostile: a reply that is too deep, too large or broken is an error, never a
** crash or a long computation. The connection that carries the bytes is net/redis_conn.h.
*/
#ifndef DSC_NET_REDIS_H
#define DSC_NET_REDIS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define DSC_REDIS_MAX_LINE  ((size_t)1024 * 1024)       /* bytes that wait for the end of one line or string */
#define DSC_REDIS_MAX_REPLY ((size_t)256 * 1024 * 1024) /* memory of one reply */
#define DSC_REDIS_MAX_ARRAY 4000000                     /* elements of one array */

typedef enum dsc_redis_type {
  DSC_REDIS_STRING,
  DSC_REDIS_ARRAY,
  DSC_REDIS_INTEGER,
  DSC_REDIS_NIL,
  DSC_REDIS_STATUS,
  DSC_REDIS_ERROR
} dsc_redis_type;

/* A reply: a tree that owns everything below it. */
typedef struct dsc_redis_reply {
  /* constant once it was handed out */
  dsc_redis_type type;
  int64_t integer;
  dsc_str str; /* string, status, error; terminated */
  size_t count;
  struct dsc_redis_reply **items; /* array */
} dsc_redis_reply;

/* One command: its words. */
typedef struct dsc_redis_command {
  size_t n;
  const dsc_str *words;
} dsc_redis_command;

typedef struct dsc_redis_reader dsc_redis_reader;

/* Appends a command in wire format. Owner's thread. Fails: DSC_ENOMEM, DSC_ETOO_LARGE; then nothing is appended. */
dsc_err dsc_redis_format(dsc_buf *out, const dsc_redis_command *command);

/* Makes a reader. Owner's thread. Caller owns: dsc_redis_reader_free(). Fails: NULL: out of memory. */
dsc_redis_reader *dsc_redis_reader_new(void);

/* Frees it and what it has read so far; NULL is allowed. Owner's thread. */
void dsc_redis_reader_free(dsc_redis_reader *reader);

/* Gives it bytes (copied). Owner's thread. Fails: DSC_ENOMEM. */
dsc_err dsc_redis_reader_feed(dsc_redis_reader *reader, const char *bytes, size_t n);

/* Takes the next whole reply; `*reply` is NULL when more bytes are needed. Owner's thread. Caller owns:
** dsc_redis_reply_free(). Fails: DSC_EPROTOCOL, DSC_ETOO_LARGE, DSC_ENOMEM with `why`; the reader is of no use then. */
dsc_err dsc_redis_reader_next(dsc_redis_reader *reader, dsc_redis_reply **reply, dsc_why *why);

/* Frees a reply; NULL is allowed. Any thread. */
void dsc_redis_reply_free(dsc_redis_reply *reply);

#endif
