/*
** log.c - log records, their line format and the default sink.
**
** A line is: time, "discover", level, message, then name=value for each field that holds something;
** values with a blank, '"', '=' or nothing printable are quoted, inner '"' and '\' escaped. Invariants: a
** line holds no control character and is always terminated; formatting allocates nothing, so a record of
** an out-of-memory failure can be written. Any thread; a dsc_log's fields follow its owner's rule.
*/
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_MAX_LENGTH 2048
#define LAST_SECOND     253402300800.0 /* the year 10000 */

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

const char *dsc_log_level_name(dsc_log_level level) {
  return (unsigned)level <= DSC_LOG_OFF ? level_names[level] : "unknown";
}

bool dsc_log_level_find(dsc_str name, dsc_log_level *level) {
  for (int i = DSC_LOG_DEBUG; i <= DSC_LOG_OFF; i++) {
    if (!dsc_str_equal(name, dsc_str_of(level_names[i]))) continue;
    *level = (dsc_log_level)i;
    return true;
  }
  return false;
}

static char printable(char c) {
  return (unsigned char)c < 0x20 || c == 0x7f ? '?' : c;
}

void dsc_log_field(char *field, size_t size, dsc_str s) {
  if (size == 0) return;
  size_t n = s.n < size ? s.n : size - 1;
  const char *dots = n < s.n && n >= 3 ? "..." : "";
  if (n < s.n) {
    n -= strlen(dots);
    while (n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80) n--; /* not within a UTF-8 sequence */
  }
  for (size_t i = 0; i < n; i++) field[i] = printable(s.p[i]);
  memcpy(field + n, dots, strlen(dots) + 1);
}

void dsc_log_write(const dsc_log *log, dsc_log_level level, const char *format, ...) {
  if (!log || !log->sink || level < log->level || level >= DSC_LOG_OFF) return;
  dsc_log_record record = {.time = dsc_clock_wall(), .level = level, .used_time_ms = -1};
  char text[sizeof record.msg + 8]; /* longer, so that dsc_log_field() sees what it has to cut */
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (n < 0) text[0] = '\0';
  dsc_log_field(record.msg, sizeof record.msg, dsc_str_of(text));
  log->sink(log->ud, &record);
}

/* A line being written; what does not fit any more is left out. */
struct line {
  char *text;
  size_t size; /* at least 1 */
  size_t n;
};

static void put_char(struct line *line, char c) {
  if (line->n + 1 < line->size) line->text[line->n++] = printable(c);
}

static void put(struct line *line, const char *text) {
  while (*text) put_char(line, *text++);
}

static void put_number(struct line *line, uint64_t value, unsigned digits) {
  char text[21];
  snprintf(text, sizeof text, "%0*llu", (int)digits, (unsigned long long)value);
  put(line, text);
}

static void put_time(struct line *line, double time) {
  if (!(time >= 0 && time < LAST_SECOND)) time = 0; /* NaN too */
  time_t seconds = (time_t)time;
  struct tm utc = {0};
  char text[32];
  gmtime_r(&seconds, &utc);
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.", &utc);
  put(line, text);
  put_number(line, (uint64_t)((time - (double)seconds) * 1000), 3);
  put_char(line, 'Z');
}

/* Writes " name=value", nothing when the value is empty. */
static void put_field(struct line *line, const char *name, const char *value, size_t size) {
  size_t n = strnlen(value, size);
  if (n == 0) return;
  bool quote = false;
  for (size_t i = 0; i < n; i++) quote = quote || value[i] == ' ' || value[i] == '"' || value[i] == '=';
  put_char(line, ' ');
  put(line, name);
  put(line, quote ? "=\"" : "=");
  for (size_t i = 0; i < n; i++) {
    if (quote && (value[i] == '"' || value[i] == '\\')) put_char(line, '\\');
    put_char(line, value[i]);
  }
  if (quote) put_char(line, '"');
}

/* By hand, because printf's decimal point follows the locale. */
static void put_used_time(struct line *line, double ms) {
  if (!(ms >= 0 && ms < 1e15)) return; /* negative: none */
  uint64_t us = (uint64_t)(ms * 1000 + 0.5);
  put(line, " used_time=");
  put_number(line, us / 1000, 1);
  put_char(line, '.');
  put_number(line, us % 1000, 3);
}

#define PUT_FIELD(line, record, name) put_field(line, #name, (record)->name, sizeof(record)->name)

size_t dsc_log_format(const dsc_log_record *record, char *text, size_t size) {
  if (size == 0) return 0;
  struct line line = {text, size, 0};
  put_time(&line, record->time);
  put(&line, " discover ");
  put(&line, dsc_log_level_name(record->level));
  if (record->msg[0]) put_char(&line, ' ');
  for (size_t i = 0; i < sizeof record->msg && record->msg[i]; i++) put_char(&line, record->msg[i]);
  PUT_FIELD(&line, record, app);
  PUT_FIELD(&line, record, method);
  PUT_FIELD(&line, record, path);
  PUT_FIELD(&line, record, node);
  if (record->attempts) put(&line, " attempts=");
  if (record->attempts) put_number(&line, record->attempts, 1);
  put_used_time(&line, record->used_time_ms);
  PUT_FIELD(&line, record, error);
  PUT_FIELD(&line, record, request_id);
  line.text[line.n] = '\0';
  return line.n;
}

void dsc_log_stderr(void *ud, const dsc_log_record *record) {
  (void)ud;
  int before = errno; /* whoever logs a failure may still want to look at it */
  char text[LINE_MAX_LENGTH];
  size_t n = dsc_log_format(record, text, sizeof text);
  text[n++] = '\n'; /* over the terminator */
  ssize_t written = write(STDERR_FILENO, text, n);
  (void)written; /* nowhere to complain to */
  errno = before;
}

/* Held while the host's sink runs, so that it can be taken away. */
static pthread_mutex_t default_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t default_once = PTHREAD_ONCE_INIT;
static dsc_log_sink default_sink; /* under default_lock; NULL: stderr */
static void *default_ud;

/* Whoever held it is not in the child. Not taken before a fork: others log with locks held that they take there. */
static void open_in_child(void) {
  pthread_mutex_init(&default_lock, NULL);
}

static void watch_forks(void) {
  pthread_atfork(NULL, NULL, open_in_child);
}

static void lock_default(void) {
  pthread_once(&default_once, watch_forks);
  pthread_mutex_lock(&default_lock);
}

void dsc_log_set_default(dsc_log_sink sink, void *ud) {
  lock_default();
  default_sink = sink;
  default_ud = ud;
  pthread_mutex_unlock(&default_lock);
}

void dsc_log_default(void *ud, const dsc_log_record *record) {
  (void)ud;
  int before = errno;
  lock_default();
  bool to_stderr = !default_sink;
  if (!to_stderr) default_sink(default_ud, record);
  pthread_mutex_unlock(&default_lock);
  errno = before;
  if (to_stderr) dsc_log_stderr(NULL, record);
}
