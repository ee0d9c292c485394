/*
** ws_fuzz.c - frames of a WebSocket's server, close frames among them: the same is seen however the bytes are cut.
*/
#include "fuzz.h"
#include "net/ws_frame.h"

#define MAX_MESSAGE 4096

typedef struct seen {
  size_t data, pings, closes;
  uint16_t code;
  bool failed;
} seen;

static void note(seen *s, const dsc_ws_seen *one) {
  switch (one->kind) {
  case DSC_WS_SEEN_DATA: s->data += one->data.n; break;
  case DSC_WS_SEEN_PING:
  case DSC_WS_SEEN_PONG:
    s->pings++;
    EXPECT(one->data.n <= DSC_WS_CONTROL_MAX);
    break;
  case DSC_WS_SEEN_CLOSE:
    s->closes++;
    s->code = one->code;
    EXPECT(one->code == 1005 || dsc_ws_close_code_is_valid(one->code));
    EXPECT(dsc_ws_utf8_is_valid(one->data));
    break;
  case DSC_WS_SEEN_ERROR:
    s->failed = true;
    s->code = one->code;
    EXPECT(one->why && one->why[0]);
    break;
  default: break;
  }
}

static seen read_all(dsc_str bytes, size_t piece) {
  seen s = {0};
  dsc_ws_reader reader;
  dsc_ws_reader_init(&reader, MAX_MESSAGE);
  while (bytes.n && !s.failed && !s.closes) {
    dsc_str part = {bytes.p, bytes.n < piece ? bytes.n : piece};
    bytes.p += part.n;
    bytes.n -= part.n;
    while (part.n && !s.failed && !s.closes) {
      dsc_ws_seen one = dsc_ws_reader_next(&reader, &part);
      note(&s, &one);
    }
  }
  return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  seen whole = read_all(input(data, size), size ? size : 1), cut = read_all(input(data, size), 1);
  EXPECT(whole.pings == cut.pings && whole.closes == cut.closes);
  EXPECT(whole.failed == cut.failed && whole.code == cut.code);
  return 0;
}
