/*
** ws_frame_test.c - frames and UTF-8 against slower, plainer ways to say the same, in pieces of every size.
*/
#include "net/ws_frame.h"

#include "base/check.h"

/* By the definition: decodes, then looks at the range. */
static bool is_utf8_plainly(const unsigned char *p, size_t n) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  for (size_t i = 0; i < n;) {
    size_t size = p[i] < 0x80 ? 1 : (p[i] >> 5) == 6 ? 2 : (p[i] >> 4) == 14 ? 3 : (p[i] >> 3) == 30 ? 4 : 0;
    if (size == 0 || i + size > n) return false;
    uint32_t c = size == 1 ? p[i] : p[i] & (0x7fu >> size);
    for (size_t j = 1; j < size; j++) {
      if ((p[i + j] & 0xc0) != 0x80) return false;
      c = c << 6 | (p[i + j] & 0x3f);
    }
    if (c < least[size] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return false;
    i += size;
  }
  return true;
}

TEST(utf8_is_what_the_definition_says) {
  unsigned char text[4];
  for (uint32_t i = 0; i < 1u << 24; i += i < 1u << 16 ? 1 : 61) { /* every pair, and many of three and four */
    text[0] = (unsigned char)(i >> 8), text[1] = (unsigned char)i;
    text[2] = (unsigned char)(0x80 | ((i >> 16) & 0x7f)), text[3] = (unsigned char)(0x80 | (i >> 18));
    for (size_t n = 1; n <= 4; n++) {
      dsc_str s = {(char *)text, n};
      if (dsc_ws_utf8_is_valid(s) != is_utf8_plainly(text, n))
        fail_msg("%02x %02x %02x %02x, %zu bytes", text[0], text[1], text[2], text[3], n);
    }
  }
}

TEST(utf8_in_pieces_is_utf8) {
  static const char text[] =
      "plain ascii, \xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5, \xf0\x9f\x98\x80 and on it goes";
  for (size_t cut = 0; cut < sizeof text - 1; cut++) {
    dsc_ws_utf8 utf8 = {0};
    assert_true(dsc_ws_utf8_feed(&utf8, (dsc_str){text, cut}));
    assert_true(dsc_ws_utf8_feed(&utf8, (dsc_str){text + cut, sizeof text - 1 - cut}));
    assert_int_equal(utf8.left, 0);
  }
}

TEST(codes_of_close_frames) {
  for (uint32_t code = 0; code <= UINT16_MAX; code++) {
    bool valid = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
    assert_int_equal(dsc_ws_close_code_is_valid((uint16_t)code), valid);
  }
}

TEST(heads_are_as_short_as_they_can_be) {
  static const struct {
    uint64_t len;
    size_t size;
  } cases[] = {{0, 6}, {125, 6}, {126, 8}, {65535, 8}, {65536, 14}, {UINT64_C(1) << 40, 14}};
  const uint8_t mask[4] = {1, 2, 3, 4};
  for (size_t i = 0; i < COUNT(cases); i++) {
    uint8_t head[DSC_WS_HEAD_MAX];
    size_t n = dsc_ws_frame_head(head, DSC_WS_OP_BINARY, i % 2 == 0, cases[i].len, mask);
    assert_int_equal(n, cases[i].size);
    assert_int_equal(head[0], i % 2 ? 0x02 : 0x82);
    assert_true(head[1] & 0x80);
    assert_memory_equal(head + n - 4, mask, 4);
    uint64_t len = head[1] & 0x7f;
    if (n > 6) len = 0;
    for (size_t j = 2; j + 4 < n; j++) len = len << 8 | head[j];
    assert_true(len == cases[i].len);
  }
}

TEST(masking_twice_is_nothing) {
  char text[100], masked[100], back[100];
  const uint8_t mask[4] = {0xde, 0xad, 0xbe, 0xef};
  for (size_t i = 0; i < sizeof text; i++) text[i] = (char)i;
  for (size_t n = 0; n <= sizeof text; n++) {
    dsc_ws_frame_mask(masked, text, n, mask);
    for (size_t i = 0; i < n; i++) assert_int_equal((uint8_t)masked[i], (uint8_t)text[i] ^ mask[i % 4]);
    dsc_ws_frame_mask(back, masked, n, mask);
    assert_memory_equal(back, text, n);
  }
}

/* A conversation of random messages, fragments and pings; returns its length. What should be seen goes to `seen`. */
static size_t make_talk(uint64_t *seed, char *bytes, char *seen) {
  size_t n = 0, m = 0;
  for (int i = 0; i < 20; i++) {
    size_t parts = 1 + pick_below(seed, 4);
    bool text = pick_below(seed, 2);
    for (size_t part = 0; part < parts; part++) {
      size_t len = pick_below(seed, 3) ? pick_below(seed, 100) : 126 + pick_below(seed, 200);
      bytes[n++] = (char)((part + 1 == parts ? 0x80 : 0) | (part ? 0 : text ? 1 : 2));
      bytes[n++] = (char)(len < 126 ? len : 126);
      if (len >= 126) bytes[n++] = (char)(len >> 8), bytes[n++] = (char)len;
      for (size_t j = 0; j < len; j++) seen[m++] = bytes[n++] = (char)('a' + pick_below(seed, 26));
      if (part + 1 == parts) seen[m++] = text ? 'T' : 'B';
      if (pick_below(seed, 3)) continue;
      memcpy(bytes + n, "\x89\x02hi", 4);
      n += 4;
      seen[m++] = '!';
    }
  }
  seen[m] = '\0';
  return n;
}

TEST(pieces_of_any_size_say_the_same) {
  uint64_t seed = 11;
  static char bytes[65536], expected[65536], got[65536];
  for (int round = 0; round < 300; round++) {
    size_t n = make_talk(&seed, bytes, expected), m = 0;
    dsc_ws_reader reader;
    dsc_ws_reader_init(&reader, 65536);
    for (size_t at = 0; at < n;) {
      size_t part = 1 + pick_below(&seed, round % 3 ? 7 : 2000);
      if (part > n - at) part = n - at;
      dsc_str piece = {bytes + at, part};
      dsc_ws_seen seen;
      while ((seen = dsc_ws_reader_next(&reader, &piece)).kind != DSC_WS_SEEN_NOTHING) {
        assert_int_not_equal(seen.kind, DSC_WS_SEEN_ERROR);
        if (seen.kind == DSC_WS_SEEN_PING) {
          assert_str(seen.data, "hi");
          got[m++] = '!';
          continue;
        }
        if (seen.data.n) memcpy(got + m, seen.data.p, seen.data.n);
        m += seen.data.n;
        if (seen.last) got[m++] = seen.text ? 'T' : 'B';
      }
      assert_int_equal(piece.n, 0);
      at += part;
    }
    got[m] = '\0';
    assert_string_equal(got, expected);
  }
}

TEST(noise_is_survived) {
  uint64_t seed = 5;
  char noise[64];
  for (int round = 0; round < 100000; round++) {
    dsc_ws_reader reader;
    dsc_ws_reader_init(&reader, 1000);
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (char)pick_below(&seed, 256);
    noise[0] = (char)(noise[0] & 0x8f), noise[1] = (char)(noise[1] & 0x7f); /* so that it gets past the first byte */
    dsc_str piece = {noise, sizeof noise};
    dsc_ws_seen seen;
    do seen = dsc_ws_reader_next(&reader, &piece);
    while (seen.kind != DSC_WS_SEEN_NOTHING && seen.kind != DSC_WS_SEEN_ERROR && seen.kind != DSC_WS_SEEN_CLOSE);
    if (seen.kind == DSC_WS_SEEN_ERROR)
      assert_true(seen.code == 1002 || seen.code == 1007 || seen.code == 1009);
    else
      assert_true(seen.kind == DSC_WS_SEEN_CLOSE || piece.n == 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(utf8_is_what_the_definition_says),
      cmocka_unit_test(utf8_in_pieces_is_utf8),
      cmocka_unit_test(codes_of_close_frames),
      cmocka_unit_test(heads_are_as_short_as_they_can_be),
      cmocka_unit_test(masking_twice_is_nothing),
      cmocka_unit_test(pieces_of_any_size_say_the_same),
      cmocka_unit_test(noise_is_survived),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
