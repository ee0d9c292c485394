/*
** body_test.c - pieces, files that change while they are sent, readers that lie, no memory.
*/
#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "core/body_impl.h"

static char folder[] = "/tmp/discover-body-XXXXXX";
static char path[64];

static int make_folder(void **state) {
  (void)state;
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/file", folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  unlink(path);
  return rmdir(folder);
}

static void write_file(const char *bytes, size_t n) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, bytes, n), n);
  close(fd);
}

static size_t open_files(void) {
  size_t n = 0;
  for (int fd = 0; fd < 1024; fd++) n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

/* Reads all of it in steps of `step` bytes; returns how it ended. */
static ptrdiff_t read_all(dsc_body *body, dsc_buf *out, size_t step) {
  dsc_http_source source;
  char bytes[4096];
  dsc_body_get_source(body, &source);
  ptrdiff_t n;
  while ((n = source.read(source.ud, bytes, step)) > 0) {
    assert_true((size_t)n <= step);
    dsc_buf_add(out, bytes, (size_t)n);
  }
  return n;
}

static void assert_reads(dsc_body *body, const char *text, size_t step) {
  dsc_buf out;
  dsc_buf_init(&out, 0);
  assert_int_equal(read_all(body, &out, step), 0);
  assert_str(dsc_buf_str(&out), text);
  dsc_buf_clear(&out);
}

TEST(an_empty_one) {
  dsc_body *body = dsc_body_new();
  dsc_http_source source;
  dsc_body_get_source(body, &source);
  assert_int_equal(source.size, 0);
  assert_int_equal(dsc_body_size(body), 0);
  assert_reads(body, "", 10);
  assert_true(source.rewind(source.ud));
  assert_null(dsc_body_failure(body));
  dsc_body_free(body);
  dsc_body_free(NULL);
}

TEST(pieces_in_their_order) {
  char own[] = "copied";
  dsc_why why;
  dsc_http_source source;
  size_t before = open_files();
  write_file("from the file", 13);
  dsc_body *body = dsc_body_new();
  assert_int_equal(dsc_body_add_bytes(body, L("one,"), true), DSC_OK);
  assert_int_equal(dsc_body_add_bytes(body, L(""), true), DSC_OK);
  assert_int_equal(dsc_body_add_bytes(body, dsc_str_of(own), false), DSC_OK);
  memset(own, 'x', sizeof own - 1);
  assert_int_equal(dsc_body_add_file(body, path, &why), DSC_OK);
  assert_int_equal(dsc_body_add_bytes(body, (dsc_str){"\0!", 2}, true), DSC_OK);
  assert_int_equal(open_files(), before + 1);
  assert_int_equal(dsc_body_size(body), 4 + 6 + 13 + 2);
  assert_int_equal(dsc_body_set_reader(body, NULL, NULL, -1), DSC_EINVALID);
  dsc_body_get_source(body, &source);
  assert_int_equal(source.size, 25);
  for (size_t step = 1; step <= 30; step++) {
    dsc_buf out;
    dsc_buf_init(&out, 0);
    assert_int_equal(read_all(body, &out, step), 0);
    assert_int_equal(out.len, 25);
    assert_memory_equal(out.data, "one,copiedfrom the file\0!", 25);
    dsc_buf_clear(&out);
    assert_true(dsc_body_can_rewind(body));
    assert_true(step % 2 ? source.rewind(source.ud) : dsc_body_rewind(body));
  }
  dsc_body_free(body);
  assert_int_equal(open_files(), before);
}

TEST(goes_back_from_the_middle) {
  dsc_why why;
  char bytes[8];
  dsc_http_source source;
  write_file("0123456789", 10);
  dsc_body *body = dsc_body_new();
  assert_int_equal(dsc_body_add_file(body, path, &why), DSC_OK);
  assert_int_equal(dsc_body_add_bytes(body, L("abc"), true), DSC_OK);
  dsc_body_get_source(body, &source);
  for (size_t n = 1; n <= 8; n++) {
    assert_int_equal(source.read(source.ud, bytes, n), n);
    assert_true(source.rewind(source.ud));
    assert_reads(body, "0123456789abc", n);
    assert_true(source.rewind(source.ud));
  }
  dsc_body_free(body);
}

TEST(many_pieces) {
  enum { N = 10000 };
  dsc_body *body = dsc_body_new();
  dsc_buf out, expected;
  dsc_buf_init(&out, 0);
  dsc_buf_init(&expected, 0);
  for (int i = 0; i < N; i++) {
    char text[16];
    snprintf(text, sizeof text, "%d,", i);
    dsc_buf_add_str(&expected, dsc_str_of(text));
    assert_int_equal(dsc_body_add_bytes(body, dsc_str_of(text), false), DSC_OK);
  }
  assert_int_equal(dsc_body_size(body), expected.len);
  assert_int_equal(read_all(body, &out, 4096), 0);
  assert_int_equal(out.len, expected.len);
  assert_memory_equal(out.data, expected.data, out.len);
  dsc_buf_clear(&out);
  dsc_buf_clear(&expected);
  dsc_body_free(body);
}

TEST(what_is_no_file) {
  dsc_why why;
  size_t before = open_files();
  char pipe_path[80];
  snprintf(pipe_path, sizeof pipe_path, "%s/pipe", folder);
  assert_int_equal(mkfifo(pipe_path, 0600), 0);
  const char *names[] = {"/nonexistent/file", folder, pipe_path, "/dev/zero", ""};
  const char *says[] = {"No such file", "is a folder", "is no ordinary file", "is no ordinary file", "No such file"};
  dsc_body *body = dsc_body_new();
  for (size_t i = 0; i < COUNT(names); i++) {
    assert_int_equal(dsc_body_add_file(body, names[i], &why), DSC_EIO);
    assert_non_null(strstr(why.text, names[i]));
    assert_non_null(strstr(why.text, says[i]));
  }
  unlink(pipe_path);
  assert_int_equal(dsc_body_size(body), 0);
  assert_reads(body, "", 10);
  dsc_body_free(body);
  assert_int_equal(open_files(), before);
}

TEST(a_bounded_number_of_files) {
  dsc_why why;
  size_t before = open_files();
  write_file("x", 1);
  dsc_body *body = dsc_body_new();
  for (int i = 0; i < DSC_BODY_MAX_FILES; i++) assert_int_equal(dsc_body_add_file(body, path, &why), DSC_OK);
  assert_int_equal(dsc_body_add_file(body, path, &why), DSC_EINVALID);
  assert_non_null(strstr(why.text, "at most 128 files"));
  assert_int_equal(dsc_body_size(body), DSC_BODY_MAX_FILES);
  dsc_body_free(body);
  assert_int_equal(open_files(), before);
}

TEST(no_descriptor_left) {
  dsc_why why;
  struct rlimit old, none;
  write_file("x", 1);
  dsc_body *body = dsc_body_new();
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
  none = old;
  none.rlim_cur = 3;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  dsc_err err = dsc_body_add_file(body, path, &why);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
  assert_int_equal(err, DSC_EIO);
  dsc_body_free(body);
}

TEST(a_file_is_closed_on_exec) {
  dsc_why why;
  write_file("x", 1);
  dsc_body *body = dsc_body_new();
  int next = dup(0);
  close(next);
  assert_int_equal(dsc_body_add_file(body, path, &why), DSC_OK);
  assert_int_equal(fcntl(next, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  dsc_body_free(body);
}

TEST(an_empty_file) {
  dsc_why why;
  size_t before = open_files();
  write_file("", 0);
  dsc_body *body = dsc_body_new();
  assert_int_equal(dsc_body_add_file(body, path, &why), DSC_OK);
  assert_int_equal(open_files(), before);
  assert_reads(body, "", 10);
  dsc_body_free(body);
}

TEST(a_file_that_grows) {
  dsc_why why;
  write_file("short", 5);
  dsc_body *body = dsc_body_new();
  assert_int_equal(dsc_body_add_file(body, path, &why), DSC_OK);
  write_file("longer than it was", 18);
  assert_int_equal(dsc_body_size(body), 5);
  assert_reads(body, "longe", 3);
  dsc_body_free(body);
}

TEST(a_file_that_shrinks) {
  dsc_why why;
  dsc_buf out;
  dsc_buf_init(&out, 0);
  write_file("0123456789", 10);
  dsc_body *body = dsc_body_new();
  assert_int_equal(dsc_body_add_file(body, path, &why), DSC_OK);
  write_file("0123", 4);
  assert_int_equal(read_all(body, &out, 3), DSC_HTTP_SOURCE_FAILED);
  assert_str(dsc_buf_str(&out), "012");
  assert_non_null(strstr(dsc_body_failure(body), path));
  assert_non_null(strstr(dsc_body_failure(body), "shorter"));
  assert_false(dsc_body_can_rewind(body));
  assert_false(dsc_body_rewind(body));
  assert_int_equal(read_all(body, &out, 3), DSC_HTTP_SOURCE_FAILED);
  dsc_buf_clear(&out);
  dsc_body_free(body);
}

TEST(a_file_that_is_removed_is_sent) {
  dsc_why why;
  write_file("still here", 10);
  dsc_body *body = dsc_body_new();
  assert_int_equal(dsc_body_add_file(body, path, &why), DSC_OK);
  unlink(path);
  assert_reads(body, "still here", 4);
  dsc_body_free(body);
}

/* ------------------------------------------------------------------ readers */

typedef struct script {
  const char *const *chunks; /* NULL ends */
  size_t at, calls;
  dsc_err err;      /* said instead of the end */
  const char *says; /* NULL: no sentence */
  int hungry;       /* how often it was told */
  const void *seen; /* the ctx */
} script;

static dsc_err give(void *ctx, void *ud, dsc_buf *out, dsc_why *why) {
  script *s = ud;
  s->calls++;
  s->seen = ctx;
  if (s->chunks[s->at]) {
    dsc_buf_add_str(out, dsc_str_of(s->chunks[s->at++]));
    return DSC_OK;
  }
  if (s->err && s->says) dsc_fail(why, s->err, "%s", s->says);
  return s->err;
}

static void note_hungry(void *ud) {
  ((script *)ud)->hungry++;
}

/* Plays the loop and the call: reads, feeds when hungry. Returns how it ended; *err: of the feeding. */
static ptrdiff_t play(dsc_body *body, dsc_buf *out, size_t step, dsc_err *err, dsc_why *why) {
  *err = DSC_OK;
  for (;;) {
    ptrdiff_t n = read_all(body, out, step);
    if (n != DSC_HTTP_SOURCE_LATER) return n;
    assert_true(dsc_body_is_hungry(body));
    *err = dsc_body_feed(body, body, why);
    if (*err) return read_all(body, out, step);
    assert_false(dsc_body_is_hungry(body));
  }
}

TEST(a_reader_gives_until_nothing) {
  static const char *const chunks[] = {"first ", "second ", "third", NULL};
  for (size_t step = 1; step < 20; step++) {
    script s = {.chunks = chunks};
    dsc_why why;
    dsc_err err;
    dsc_buf out;
    dsc_http_source source;
    dsc_buf_init(&out, 0);
    dsc_body *body = dsc_body_new();
    assert_int_equal(dsc_body_set_reader(body, give, &s, -1), DSC_OK);
    dsc_body_on_hungry(body, note_hungry, &s);
    assert_int_equal(dsc_body_size(body), -1);
    dsc_body_get_source(body, &source);
    assert_int_equal(source.size, -1);
    assert_int_equal(dsc_body_add_bytes(body, L("x"), true), DSC_EINVALID);
    assert_int_equal(dsc_body_add_file(body, path, &why), DSC_EINVALID);
    assert_int_equal(play(body, &out, step, &err, &why), 0);
    assert_int_equal(err, DSC_OK);
    assert_str(dsc_buf_str(&out), "first second third");
    assert_int_equal(s.calls, 4);
    assert_int_equal(s.hungry, 4);
    assert_ptr_equal(s.seen, body);
    assert_int_equal(dsc_body_feed(body, NULL, &why), DSC_OK); /* at the end it is not asked again */
    assert_int_equal(s.calls, 4);
    assert_int_equal(read_all(body, &out, step), 0);
    dsc_buf_clear(&out);
    dsc_body_free(body);
  }
}

TEST(a_reader_is_not_asked_while_bytes_wait) {
  static const char *const chunks[] = {"abc", "def", NULL};
  script s = {.chunks = chunks};
  dsc_why why;
  dsc_http_source source;
  char byte;
  dsc_body *body = dsc_body_new();
  dsc_body_set_reader(body, give, &s, -1);
  dsc_body_get_source(body, &source);
  assert_int_equal(dsc_body_feed(body, NULL, &why), DSC_OK);
  assert_int_equal(dsc_body_feed(body, NULL, &why), DSC_OK);
  assert_int_equal(s.calls, 1);
  assert_true(dsc_body_can_rewind(body)); /* nothing was taken yet */
  assert_true(source.rewind(source.ud));
  assert_int_equal(source.read(source.ud, &byte, 1), 1);
  assert_int_equal(byte, 'a');
  assert_false(dsc_body_can_rewind(body));
  assert_false(source.rewind(source.ud));
  dsc_body_free(body);
}

TEST(a_reader_without_bytes) {
  static const char *const chunks[] = {NULL};
  script s = {.chunks = chunks};
  dsc_why why;
  dsc_err err;
  dsc_buf out;
  dsc_buf_init(&out, 0);
  dsc_body *body = dsc_body_new();
  dsc_body_set_reader(body, give, &s, -5);
  assert_int_equal(play(body, &out, 10, &err, &why), 0);
  assert_int_equal(err, DSC_OK);
  assert_true(dsc_body_rewind(body));
  assert_int_equal(read_all(body, &out, 10), 0);
  assert_int_equal(s.calls, 1);
  dsc_body_free(body);
}

TEST(a_reader_keeps_its_word) {
  static const char *const chunks[] = {"12345", "678", NULL};
  static const struct {
    int64_t size;
    const char *says;
  } rows[] = {{8, NULL}, {7, "more than the 7"}, {3, "more than the 3"}, {9, "8 of the 9"}, {0, "more than the 0"}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    script s = {.chunks = chunks};
    dsc_why why;
    dsc_err err;
    dsc_buf out;
    dsc_buf_init(&out, 0);
    dsc_body *body = dsc_body_new();
    dsc_body_set_reader(body, give, &s, rows[i].size);
    assert_int_equal(dsc_body_size(body), rows[i].size);
    ptrdiff_t end = play(body, &out, 100, &err, &why);
    assert_int_equal(end, rows[i].says ? DSC_HTTP_SOURCE_FAILED : 0);
    assert_int_equal(err, rows[i].says ? DSC_ECALLBACK : DSC_OK);
    if (rows[i].says) assert_non_null(strstr(dsc_body_failure(body), rows[i].says));
    if (rows[i].says) assert_string_equal(dsc_body_failure(body), why.text);
    dsc_buf_clear(&out);
    dsc_body_free(body);
  }
}

TEST(a_reader_that_fails) {
  static const char *const chunks[] = {"12345", NULL};
  for (int says = 0; says <= 1; says++) {
    script s = {.chunks = chunks, .err = DSC_ECALLBACK, .says = says ? "no more milk" : NULL};
    dsc_why why;
    dsc_err err;
    dsc_buf out;
    dsc_buf_init(&out, 0);
    dsc_body *body = dsc_body_new();
    dsc_body_set_reader(body, give, &s, -1);
    assert_int_equal(play(body, &out, 100, &err, &why), DSC_HTTP_SOURCE_FAILED);
    assert_int_equal(err, DSC_ECALLBACK);
    assert_string_equal(why.text, says ? "no more milk" : dsc_err_text(DSC_ECALLBACK));
    why.text[0] = '\0';
    assert_int_equal(dsc_body_feed(body, NULL, &why), DSC_ECALLBACK); /* the same again, without asking */
    assert_string_equal(why.text, dsc_body_failure(body));
    assert_int_equal(s.calls, 2);
    assert_false(dsc_body_can_rewind(body));
    dsc_buf_clear(&out);
    dsc_body_free(body);
  }
}

TEST(a_large_buffer_is_given_back) {
  enum { LARGE = 1 << 20 };
  char *large = malloc(LARGE + 1);
  memset(large, 'x', LARGE);
  large[LARGE] = '\0';
  const char *const chunks[] = {large, "y", NULL};
  script s = {.chunks = chunks};
  dsc_why why;
  dsc_err err;
  dsc_buf out;
  size_t before, after;
  dsc_buf_init(&out, 0);
  dsc_body *body = dsc_body_new();
  dsc_mem_usage(NULL, &before);
  dsc_body_set_reader(body, give, &s, -1);
  assert_int_equal(play(body, &out, 4096, &err, &why), 0);
  assert_int_equal(out.len, LARGE + 1);
  dsc_buf_clear(&out);
  dsc_mem_usage(NULL, &after);
  assert_true(after < before + 100000);
  dsc_body_free(body);
  free(large);
}

/* ---------------------------------------------------------------- no memory */

static bool build(void) {
  static const char *const chunks[] = {"12345", "67890", NULL};
  script s = {.chunks = chunks};
  dsc_why why;
  bool good = false;
  char bytes[16];
  dsc_http_source source;
  dsc_body *body = dsc_body_new(), *read = dsc_body_new();
  if (body && read) {
    bool copied = !dsc_body_add_bytes(body, L("text"), false), borrowed = !dsc_body_add_bytes(body, L("more"), true);
    good = !dsc_body_add_file(body, path, &why) && copied && borrowed;
    dsc_body_set_reader(read, give, &s, -1);
    dsc_err err = dsc_body_feed(read, NULL, &why);
    if (err) assert_int_equal(err, DSC_ENOMEM);
    if (err) assert_string_equal(dsc_body_failure(read), why.text);
    dsc_body_get_source(read, &source);
    assert_int_equal(source.read(source.ud, bytes, sizeof bytes), err ? DSC_HTTP_SOURCE_FAILED : 5);
    good = good && !err;
  }
  dsc_body_free(body);
  dsc_body_free(read);
  return good;
}

TEST(no_memory) {
  size_t before = open_files();
  write_file("x", 1);
  assert_true(fail_each_allocation(build) >= 7);
  assert_int_equal(open_files(), before);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_empty_one),
      cmocka_unit_test(pieces_in_their_order),
      cmocka_unit_test(goes_back_from_the_middle),
      cmocka_unit_test(many_pieces),
      cmocka_unit_test(what_is_no_file),
      cmocka_unit_test(a_bounded_number_of_files),
      cmocka_unit_test(no_descriptor_left),
      cmocka_unit_test(a_file_is_closed_on_exec),
      cmocka_unit_test(an_empty_file),
      cmocka_unit_test(a_file_that_grows),
      cmocka_unit_test(a_file_that_shrinks),
      cmocka_unit_test(a_file_that_is_removed_is_sent),
      cmocka_unit_test(a_reader_gives_until_nothing),
      cmocka_unit_test(a_reader_is_not_asked_while_bytes_wait),
      cmocka_unit_test(a_reader_without_bytes),
      cmocka_unit_test(a_reader_keeps_its_word),
      cmocka_unit_test(a_reader_that_fails),
      cmocka_unit_test(a_large_buffer_is_given_back),
      cmocka_unit_test(no_memory),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
