/*
** log_test.c - fields, lines, levels and the default sink.
*/
#include "check.h"

#include <errno.h>
#include <math.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"

static const dsc_log_record attempt = {
    .time = 1700000000.25,
    .level = DSC_LOG_WARN,
    .msg = "attempt failed",
    .app = "user",
    .method = "GET",
    .path = "/api/verify",
    .node = "10.0.0.1:8080",
    .request_id = "r-1",
    .error = "timeout",
    .attempts = 2,
    .used_time_ms = 12.3456,
};

TEST(levels) {
  dsc_log_level level = DSC_LOG_OFF;
  for (int i = DSC_LOG_DEBUG; i <= DSC_LOG_OFF; i++) {
    assert_true(dsc_log_level_find(dsc_str_of(dsc_log_level_name((dsc_log_level)i)), &level));
    assert_int_equal(level, i);
  }
  assert_string_equal(dsc_log_level_name(DSC_LOG_WARN), "warn");
  assert_string_equal(dsc_log_level_name((dsc_log_level)99), "unknown");
  level = DSC_LOG_INFO;
  assert_false(dsc_log_level_find(L("WARN"), &level));
  assert_false(dsc_log_level_find(L(""), &level));
  assert_int_equal(level, DSC_LOG_INFO);
}

TEST(an_attempt_is_one_readable_line) {
  char line[2048];
  size_t n = dsc_log_format(&attempt, line, sizeof line);
  assert_string_equal(line,
                      "2023-11-14T22:13:20.250Z discover warn attempt failed app=user method=GET path=/api/verify "
                      "node=10.0.0.1:8080 attempts=2 used_time=12.346 error=timeout request_id=r-1");
  assert_int_equal(n, strlen(line));
}

TEST(empty_fields_are_left_out) {
  dsc_log_record record = {.level = DSC_LOG_INFO, .msg = "registered", .used_time_ms = -1};
  char line[256];
  dsc_log_format(&record, line, sizeof line);
  assert_string_equal(line, "1970-01-01T00:00:00.000Z discover info registered");
}

TEST(odd_values_are_quoted_and_cannot_break_the_line) {
  dsc_log_record record = {.level = DSC_LOG_ERROR, .used_time_ms = 0};
  strncpy(record.msg, "a\nb", sizeof record.msg - 1);
  strncpy(record.path, "/a b\"c\\\r\n", sizeof record.path - 1);
  strncpy(record.app, "x=1", sizeof record.app - 1);
  char line[256];
  dsc_log_format(&record, line, sizeof line);
  assert_string_equal(
      line, "1970-01-01T00:00:00.000Z discover error a?b app=\"x=1\" path=\"/a b\\\"c\\\\??\" used_time=0.000");
}

TEST(odd_numbers) {
  static const double odd[] = {NAN, INFINITY, -INFINITY, 1e300, -5};
  char line[256];
  for (size_t i = 0; i < COUNT(odd); i++) {
    dsc_log_record record = {.time = odd[i], .used_time_ms = odd[i], .msg = "x"};
    dsc_log_format(&record, line, sizeof line);
    assert_string_equal(line, "1970-01-01T00:00:00.000Z discover debug x");
  }
}

TEST(full_fields_without_a_terminator_stay_in_bounds) {
  dsc_log_record record = {.used_time_ms = -1};
  memset(record.msg, 'm', sizeof record.msg);
  memset(record.path, 'p', sizeof record.path);
  memset(record.node, 'n', sizeof record.node);
  memset(record.request_id, 'r', sizeof record.request_id);
  char line[2048];
  size_t n = dsc_log_format(&record, line, sizeof line);
  assert_int_equal(n, strlen("1970-01-01T00:00:00.000Z discover debug  path= node= request_id=") + sizeof record.msg +
                          sizeof record.path + sizeof record.node + sizeof record.request_id);
}

TEST(any_size_of_line_is_a_terminated_beginning) {
  char whole[2048], line[2048];
  size_t n = dsc_log_format(&attempt, whole, sizeof whole);
  for (size_t size = 1; size <= n + 2; size++) {
    memset(line, '#', sizeof line);
    size_t written = dsc_log_format(&attempt, line, size);
    assert_int_equal(written, size <= n ? size - 1 : n);
    assert_memory_equal(line, whole, written);
    assert_int_equal(line[written], '\0');
    assert_int_equal(line[size], '#');
  }
  line[0] = '#';
  assert_int_equal(dsc_log_format(&attempt, line, 0), 0);
  assert_int_equal(line[0], '#');
}

TEST(fields_are_cut_with_dots) {
  char field[9];
  dsc_log_field(field, sizeof field, L("12345678"));
  assert_string_equal(field, "12345678");
  dsc_log_field(field, sizeof field, L("123456789"));
  assert_string_equal(field, "12345...");
  dsc_log_field(field, sizeof field, L("1234\xc3\xa4 6789")); /* not half of a character */
  assert_string_equal(field, "1234...");
  dsc_log_field(field, sizeof field, L("a\r\nb\x7f\0c"));
  assert_string_equal(field, "a??b??c");
  dsc_log_field(field, sizeof field, (dsc_str){NULL, 0});
  assert_string_equal(field, "");
  dsc_log_field(field, 3, L("12345"));
  assert_string_equal(field, "12");
  dsc_log_field(field, 1, L("12345"));
  assert_string_equal(field, "");
  field[0] = '#';
  dsc_log_field(field, 0, L("12345"));
  assert_int_equal(field[0], '#');
}

static dsc_log_record last;
static int records;

static void keep(void *ud, const dsc_log_record *record) {
  assert_ptr_equal(ud, &records);
  last = *record;
  records++;
}

TEST(write_obeys_the_level) {
  dsc_log log = {keep, &records, DSC_LOG_WARN};
  records = 0;
  dsc_log_write(&log, DSC_LOG_INFO, "no");
  dsc_log_write(&log, DSC_LOG_OFF, "no level of a message");
  assert_int_equal(records, 0);
  dsc_log_write(&log, DSC_LOG_WARN, "node %s is %s\n", "a:1", "gone");
  assert_int_equal(records, 1);
  assert_string_equal(last.msg, "node a:1 is gone?");
  assert_int_equal(last.level, DSC_LOG_WARN);
  assert_true(fabs(last.time - dsc_clock_wall()) < 5);
  assert_true(last.used_time_ms < 0 && last.app[0] == '\0');
  log.level = DSC_LOG_OFF;
  dsc_log_write(&log, DSC_LOG_ERROR, "no");
  log = (dsc_log){0};
  dsc_log_write(&log, DSC_LOG_ERROR, "no sink");
  dsc_log_write(NULL, DSC_LOG_ERROR, "no log");
  assert_int_equal(records, 1);
}

TEST(long_messages_are_cut_with_dots) {
  dsc_log log = {keep, &records, DSC_LOG_DEBUG};
  dsc_log_write(&log, DSC_LOG_DEBUG, "%0*d", (int)sizeof last.msg - 1, 1);
  assert_string_equal(last.msg + sizeof last.msg - 5, "0001");
  dsc_log_write(&log, DSC_LOG_DEBUG, "%0*d", (int)sizeof last.msg, 1);
  assert_string_equal(last.msg + sizeof last.msg - 5, "0...");
  dsc_log_write(&log, DSC_LOG_DEBUG, "%0*d", 5000, 1);
  assert_string_equal(last.msg + sizeof last.msg - 5, "0...");
}

/* A datagram socket in place of stderr: each write(2) arrives as a piece of its own. */
static size_t catch_stderr(const dsc_log_record *record, char *line, size_t size) {
  int ends[2], real = dup(STDERR_FILENO);
  assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
  dup2(ends[1], STDERR_FILENO);
  errno = ENOENT;
  dsc_log_stderr(NULL, record);
  int after = errno;
  dup2(real, STDERR_FILENO);
  ssize_t n = recv(ends[0], line, size, MSG_DONTWAIT);
  char more;
  ssize_t second = recv(ends[0], &more, 1, MSG_DONTWAIT);
  close(real);
  close(ends[0]);
  close(ends[1]);
  assert_int_equal(after, ENOENT);
  assert_true(n > 0);
  assert_int_equal(second, -1);
  return (size_t)n;
}

TEST(stderr_gets_one_line_in_one_write) {
  char expected[2048], line[4096];
  size_t n = dsc_log_format(&attempt, expected, sizeof expected);
  assert_int_equal(catch_stderr(&attempt, line, sizeof line), n + 1);
  assert_memory_equal(line, expected, n);
  assert_int_equal(line[n], '\n');
}

TEST(the_longest_line_still_ends) {
  dsc_log_record record = {.level = DSC_LOG_ERROR};
  memset(record.msg, '"', sizeof record.msg);
  memset(record.app, '"', sizeof record.app);
  memset(record.path, '"', sizeof record.path);
  memset(record.node, '"', sizeof record.node);
  memset(record.request_id, '"', sizeof record.request_id);
  char line[4096];
  size_t n = catch_stderr(&record, line, sizeof line);
  assert_true(n <= 2048);
  assert_int_equal(line[n - 1], '\n');
}

static int log_to_nowhere(void) {
  close(STDERR_FILENO);
  errno = 0;
  dsc_log_stderr(NULL, &attempt);
  return errno;
}

TEST(a_closed_stderr_is_no_trouble) {
  assert_int_equal(in_child(log_to_nowhere), 0);
}

static void note(void *ud, const dsc_log_record *record) {
  errno = EBADF;
  snprintf(ud, 64, "%s", record->msg);
}

TEST(a_host_takes_the_default_sink) {
  char taken[64] = "";
  dsc_log log = {dsc_log_default, NULL, DSC_LOG_INFO};
  dsc_log_set_default(note, taken);
  errno = ENOENT;
  dsc_log_write(&log, DSC_LOG_INFO, "to the host");
  assert_int_equal(errno, ENOENT);
  assert_string_equal(taken, "to the host");
  dsc_log_set_default(NULL, NULL);
  taken[0] = '\0';
  dsc_log_write(&log, DSC_LOG_INFO, "to stderr: this line belongs here");
  assert_string_equal(taken, "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(levels),
      cmocka_unit_test(an_attempt_is_one_readable_line),
      cmocka_unit_test(empty_fields_are_left_out),
      cmocka_unit_test(odd_values_are_quoted_and_cannot_break_the_line),
      cmocka_unit_test(odd_numbers),
      cmocka_unit_test(full_fields_without_a_terminator_stay_in_bounds),
      cmocka_unit_test(any_size_of_line_is_a_terminated_beginning),
      cmocka_unit_test(fields_are_cut_with_dots),
      cmocka_unit_test(write_obeys_the_level),
      cmocka_unit_test(long_messages_are_cut_with_dots),
      cmocka_unit_test(stderr_gets_one_line_in_one_write),
      cmocka_unit_test(the_longest_line_still_ends),
      cmocka_unit_test(a_closed_stderr_is_no_trouble),
      cmocka_unit_test(a_host_takes_the_default_sink),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
