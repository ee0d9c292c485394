/*
** resp_fuzz.c - what a Redis may send: the same replies must come out however the bytes are cut.
*/
#include "fuzz.h"
#include "net/redis.h"

/* Reads all replies, fed in pieces of `piece` bytes. Returns how many came before an error or the end. */
static size_t read_all(dsc_str bytes, size_t piece, dsc_err *err) {
  size_t replies = 0;
  dsc_why why;
  dsc_redis_reader *reader = dsc_redis_reader_new();
  *err = DSC_OK;
  for (size_t at = 0; at < bytes.n && !*err; at += piece) {
    size_t n = bytes.n - at < piece ? bytes.n - at : piece;
    *err = dsc_redis_reader_feed(reader, bytes.p + at, n);
    for (dsc_redis_reply *reply = NULL; !*err; replies++) {
      *err = dsc_redis_reader_next(reader, &reply, &why);
      if (*err || !reply) break;
      dsc_redis_reply_free(reply);
    }
  }
  dsc_redis_reader_free(reader);
  return replies;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  dsc_err whole, cut;
  size_t a = read_all(input(data, size), size ? size : 1, &whole);
  size_t b = read_all(input(data, size), 1, &cut);
  EXPECT(a == b && whole == cut);
  return 0;
}
