/*
** http_flood_test.c - attempts against peers that send too much: headers, bodies, a gzip bomb.
*/
#include "http_support.h"

static void script_text(peer *p, peer_conn *c) {
  while (peer_read(c)) {
    peer_say(c, p->ud);
    if (!strstr(p->ud, "keep-open")) return;
  }
}

static void script_endless_headers(peer *p, peer_conn *c) {
  char line[1024];
  (void)p;
  peer_read(c);
  memset(line, 'a', sizeof line);
  memcpy(line, "X-A: ", 5);
  memcpy(line + sizeof line - 2, "\r\n", 2);
  peer_say(c, "HTTP/1.1 200 OK\r\n");
  while (peer_write(c, line, sizeof line)) continue;
}

static void script_endless_line(peer *p, peer_conn *c) {
  char bytes[1024];
  (void)p;
  peer_read(c);
  memset(bytes, 'a', sizeof bytes);
  peer_say(c, "HTTP/1.1 200 OK\r\nX-A: ");
  while (peer_write(c, bytes, sizeof bytes)) continue;
}

static void script_endless_1xx(peer *p, peer_conn *c) {
  (void)p;
  peer_read(c);
  while (peer_say(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")) continue;
}

static void script_endless_body(peer *p, peer_conn *c) {
  char bytes[4096];
  (void)p;
  peer_read(c);
  memset(bytes, 'a', sizeof bytes);
  peer_say(c, "HTTP/1.1 200 OK\r\n\r\n");
  while (peer_write(c, bytes, sizeof bytes)) continue;
}

typedef struct bits {
  char bytes[65536];
  size_t n; /* bits */
} bits;

/* Appends the `n` bits of `code`, highest first, as deflate wants Huffman codes. */
static void put_bits(bits *b, unsigned code, int n) {
  while (n-- > 0) {
    if (code >> n & 1U) b->bytes[b->n / 8] = (char)(b->bytes[b->n / 8] | 1 << b->n % 8);
    b->n++;
  }
}

/* 4 MiB of zeros: one literal, then "258 times the byte before" (RFC 1951, fixed codes). */
static void script_gzip_bomb(peer *p, peer_conn *c) {
  static const char magic[10] = {0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
  bits b = {.n = 0};
  char head[160];
  (void)p;
  put_bits(&b, 6, 3); /* the last block, fixed codes */
  put_bits(&b, 0x30, 8);
  for (int i = 0; i < 4 * 1024 * 1024 / 258; i++) {
    put_bits(&b, 0xc5, 8);
    put_bits(&b, 0, 5);
  }
  peer_read(c);
  snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n", 10 + b.n / 8);
  peer_say(c, head);
  peer_write(c, magic, sizeof magic);
  peer_write(c, b.bytes, b.n / 8);
  peer_linger(c);
}

static void too_much(peer_script script, dsc_err err, int status) {
  peer p;
  bench b;
  shot s;
  peer_start(&p, script, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  call(&b, &request, &s);
  expect(&s, err, p.addr);
  assert_int_equal(s.answer.status, status);
  assert_false(s.answer.ours);
  shot_clear(&s);
  bench_close(&b);
  peer_stop(&p);
}

static void test_too_much(void **state) {
  (void)state;
  too_much(script_endless_headers, DSC_EPROTOCOL, 200);
  too_much(script_endless_line, DSC_EPROTOCOL, 200);
  too_much(script_endless_1xx, DSC_EPROTOCOL, 103);
  too_much(script_endless_body, DSC_ETOO_LARGE, 200);
  too_much(script_gzip_bomb, DSC_ETOO_LARGE, 200);
}

static void test_declared_too_large(void **state) {
  (void)state;
  peer p;
  bench b;
  shot s;
  static char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\nX: keep-open\r\n\r\n";
  peer_start(&p, script_text, text);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  call(&b, &request, &s);
  expect(&s, DSC_ETOO_LARGE, "max_body");
  shot_clear(&s);
  request.method = "HEAD"; /* no body, so its length may be any */
  call(&b, &request, &s);
  expect(&s, DSC_OK, NULL);
  shot_clear(&s);
  bench_close(&b);
  peer_stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_too_much),
      cmocka_unit_test(test_declared_too_large),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
